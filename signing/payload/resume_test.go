package payload_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/payload"
)

var errCut = errors.New("connection reset")

// cutReader breaks off after n bytes.
func cutReader(b []byte, n int) io.Reader {
	return io.MultiReader(bytes.NewReader(b[:n]), errReader{})
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errCut }

// stored is a checkpoint that went to disk and back.
func stored(t *testing.T, c *payload.Checkpoint) *payload.Checkpoint {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	back := new(payload.Checkpoint)
	require.NoError(t, json.Unmarshal(text, back))
	return back
}

// However often it is cut, a payload arrives, and nothing but the metadata is
// fetched twice.
func TestResumeAfterEveryCut(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	for step := 1500; step < len(p); step += 1777 {
		o, d := options(len(img), old, s.key)
		var last *payload.Checkpoint
		var metadata []byte
		o.Checkpoint = func(c *payload.Checkpoint) error { last = stored(t, c); return nil }
		o.Accept = func(m *payload.Metadata) error { metadata = m.Bytes; return nil }
		fetched, offset := 0, 0
		for rounds := 0; ; rounds++ {
			require.Less(t, rounds, 100)
			n := min(step, len(p)-offset)
			fetched += n
			r := cutReader(p[offset:], n)
			if offset+n == len(p) {
				r = bytes.NewReader(p[offset:])
			}
			if o.Resume = last; last != nil {
				r = io.MultiReader(bytes.NewReader(metadata), r)
			}
			_, err := payload.Apply(t.Context(), r, o)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, errCut)
			require.NotNil(t, last)
			offset = int(last.Offset)
		}
		assert.True(t, bytes.Equal(img, d.b))
		// The signatures at the end are small and begun anew.
		assert.LessOrEqual(t, fetched, len(p)+200)
	}
}

// A run that was killed goes on at the last checkpoint it stored; what it wrote
// behind that is written again.
func TestResumeAfterKill(t *testing.T) {
	s := newEd25519("one", 1)
	img := image(3000, 8)
	p := full(t, img, s)
	var all []*payload.Checkpoint
	var synced []int
	o, d := options(len(img), nil, s.key)
	o.CheckpointEvery = 1
	o.Checkpoint = func(c *payload.Checkpoint) error {
		all, synced = append(all, stored(t, c)), append(synced, d.synced)
		assert.Empty(t, c.Partial)
		return nil
	}
	m, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	for i, c := range all {
		assert.Equal(t, i+1, synced[i], "synced before it is told")
		o, d2 := options(len(img), nil, s.key)
		copy(d2.b, d.b)
		o.Resume = c
		r := io.MultiReader(bytes.NewReader(m.Bytes), bytes.NewReader(p[c.Offset:]))
		_, err := payload.Apply(t.Context(), r, o)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(img, d2.b))
	}
}

// slowDisk takes its time to sync.
type slowDisk struct{ *disk }

func (d slowDisk) Sync() error {
	time.Sleep(20 * time.Millisecond)
	return d.disk.Sync()
}

// A stream that is faster than the disk does not run away from the checkpoints:
// a run that is killed has a sixteenth of the payload to fetch again, and what
// is in work.
func TestSlowDisk(t *testing.T) {
	s := newEd25519("one", 1)
	const blocks = 2048
	img := image(blocks, 11)
	ops := make([]payload.Operation, blocks)
	for i := range ops {
		ops[i] = payload.Operation{
			Type: payload.Replace, Dst: []payload.Extent{{uint64(i), 1}}, Data: img[i*payload.BlockSize:][:payload.BlockSize],
		}
	}
	p := write(t, payload.Manifest{Info: info(), New: imageOf(img)}, sequence(ops), s)
	o, d := options(len(img), nil, s.key)
	o.Target, o.Workers = slowDisk{d}, 2
	var stored atomic.Int64
	var most int64
	o.Checkpoint = func(c *payload.Checkpoint) error { stored.Store(c.Offset); return nil }
	o.Progress = func(done, _ int64) { most = max(most, done-stored.Load()) }
	_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(img, d.b))
	assert.LessOrEqual(t, most, int64(len(p)/16+8*payload.BlockSize)+int64(len(p)-len(img)))
}

// Writes that were lost, and checkpoints that lie, are found out.
func TestResumeFromLies(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	var good *payload.Checkpoint
	o, d := options(len(img), old, s.key)
	o.Checkpoint = func(c *payload.Checkpoint) error { good = stored(t, c); return nil }
	_, err := payload.Apply(t.Context(), cutReader(p, len(p)-6000), o)
	require.ErrorIs(t, err, errCut)
	require.NotEmpty(t, good.Partial)
	half := bytes.Clone(d.b)

	other := full(t, image(len(img)/4096, 77), s)
	cases := []struct {
		name   string
		change func(c *payload.Checkpoint)
		p      []byte
		disk   []byte
		want   string
	}{
		{"good", func(*payload.Checkpoint) {}, p, half, ""},
		{"other payload", func(*payload.Checkpoint) {}, other, half, payload.ErrCheckpoint.Error()},
		{"operation", func(c *payload.Checkpoint) { c.Operation++ }, p, half, payload.ErrCheckpoint.Error()},
		{"negative operation", func(c *payload.Checkpoint) { c.Operation = -1 }, p, half, payload.ErrCheckpoint.Error()},
		{"huge operation", func(c *payload.Checkpoint) { c.Operation = 1 << 40 }, p, half, payload.ErrCheckpoint.Error()},
		{"offset", func(c *payload.Checkpoint) { c.Offset++ }, p, half, payload.ErrCheckpoint.Error()},
		{"digest", func(c *payload.Checkpoint) { c.Digest[20] ^= 1 }, p, half, "payload: bad signature by one: it was changed after it was signed"},
		{"no digest", func(c *payload.Checkpoint) { c.Digest = nil }, p, half, payload.ErrCheckpoint.Error()},
		{"partial", func(c *payload.Checkpoint) { c.Partial[0] ^= 1 }, p, half, "payload operation 4 (REPLACE): the data of REPLACE is not what was signed"},
		{"too much partial", func(c *payload.Checkpoint) { c.Partial = make([]byte, 1<<20) }, p, half, payload.ErrCheckpoint.Error()},
		{"lost writes", func(*payload.Checkpoint) {}, p, newDisk(len(img)).b, "target: its digest is"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			check := stored(t, good)
			c.change(check)
			o, d := options(len(img), old, s.key)
			copy(d.b, c.disk)
			o.Resume, o.Workers = check, 1
			meta, err := payload.InspectMetadata(bytes.NewReader(c.p))
			require.NoError(t, err)
			r := io.MultiReader(bytes.NewReader(meta.Bytes), bytes.NewReader(p[good.Offset:]))
			_, err = payload.Apply(t.Context(), r, o)
			if c.want == "" {
				require.NoError(t, err)
				assert.True(t, bytes.Equal(img, d.b))
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

// An interrupt ends the work and leaves a checkpoint.
func TestInterrupt(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	o, _ := options(len(img), old, s.key)
	o.Progress = func(done, _ int64) {
		if done > int64(len(p)/2) {
			cancel()
		}
	}
	told := false
	o.Checkpoint = func(c *payload.Checkpoint) error { told = true; return nil }
	_, err := payload.Apply(ctx, bytes.NewReader(p), o)
	assert.ErrorIs(t, err, context.Canceled)
	assert.True(t, told)
}
