package payload_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/payload"
)

func TestFullRoundTrip(t *testing.T) {
	for _, blocks := range []int{1, 3, 300, 2500} {
		img := image(blocks, 1)
		s := newEd25519("one", 1)
		p := full(t, img, s)
		o, d := options(len(img), nil, s.key)
		m, err := payload.Apply(t.Context(), iotest.HalfReader(bytes.NewReader(p)), o)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(img, d.b))
		assert.Equal(t, info(), m.Manifest.Info)
		assert.Equal(t, int64(len(p)), m.PayloadSize())
		assert.Equal(t, "one", m.KeyID)
		assert.False(t, m.Manifest.Delta())
		assert.Less(t, len(p), len(img)+2048)
	}
}

func TestZeroImage(t *testing.T) {
	img := make([]byte, 2500*payload.BlockSize)
	s := newEd25519("one", 1)
	p := full(t, img, s)
	o, d := options(len(img), nil, s.key)
	m, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(img, d.b))
	assert.Len(t, m.Manifest.Operations, 1)
}

func TestDeltaRoundTrip(t *testing.T) {
	s, e := newEd25519("one", 1), newECDSA(t, "two")
	old, img, p := delta(t, s, e)
	for _, key := range []payload.Key{s.key, e.key} {
		o, d := options(len(img), old, key)
		m, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(img, d.b))
		assert.Equal(t, key.ID, m.KeyID)
		assert.True(t, m.Manifest.Delta())
		assert.Equal(t, int64(1700000000), m.Manifest.Timestamp)
	}
}

func TestReaderSeesWhatWasWritten(t *testing.T) {
	s := newECDSA(t, "two")
	_, _, p := delta(t, s)
	r, err := payload.NewReader(bytes.NewReader(p), []payload.Key{s.key})
	require.NoError(t, err)
	var types []string
	for {
		op, data, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		assert.Len(t, data, int(op.DataSize))
		types = append(types, op.Type.String())
	}
	assert.Equal(t, []string{"SOURCE_COPY", "ZERO", "PATCH", "REPLACE_ZSTD", "REPLACE", "REPLACE"}, types)
	id, err := r.Finish([]payload.Key{s.key})
	require.NoError(t, err)
	assert.Equal(t, "two", id)
	assert.Len(t, r.PayloadSignatures, 1)
}

// The plan must not depend on how many goroutines make it.
func TestDeterministic(t *testing.T) {
	img := image(2500, 3)
	s := newECDSA(t, "two")
	fast, err := payload.Fast()
	require.NoError(t, err)
	var first []byte
	for _, workers := range []int{1, 2, 7} {
		plan := payload.PlanFull(t.Context(), bytes.NewReader(img), int64(len(img)),
			&payload.FullOptions{Compress: fast, Workers: workers})
		p := write(t, payload.Manifest{Info: info(), New: imageOf(img)}, plan, s)
		if first == nil {
			first = p
		}
		assert.True(t, bytes.Equal(first, p))
	}
}

func TestWriteErrors(t *testing.T) {
	img := image(4, 1)
	one := []payload.Extent{{Start: 0, Blocks: 1}}
	block := make([]byte, 4096)
	cases := []struct {
		name string
		ops  []payload.Operation
		want string
	}{
		{"gap", []payload.Operation{{Type: payload.Zero, Dst: one}}, "payload: nothing writes block 1"},
		{"twice", []payload.Operation{{Type: payload.Zero, Dst: one}, {Type: payload.Zero, Dst: one}}, "payload: operation 1: writes block 0, which is written already"},
		{"outside", []payload.Operation{{Type: payload.Zero, Dst: []payload.Extent{{Start: 3, Blocks: 2}}}}, "payload: operation 0: writes blocks 3+2 of a partition of 4"},
		{"short data", []payload.Operation{{Type: payload.Replace, Dst: one, Data: block[1:]}}, "payload: operation 0: 4095 bytes of data for 4096"},
		{"no source", []payload.Operation{{Type: payload.SourceCopy, Dst: one, Src: one}}, "payload: operation 0: reads blocks 0+1 of a source of 0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := payload.Write(t.Context(), &out, &payload.WriteOptions{
				Manifest: payload.Manifest{Info: info(), New: imageOf(img)}, Plan: sequence(c.ops),
				Scratch: new(scratch), Signers: []payload.Signer{newEd25519("one", 1)},
			})
			assert.EqualError(t, err, c.want)
			assert.Zero(t, out.Len())
		})
	}
}

// Signers that only take down what to sign are asked for everything at once.
func TestEverythingIsAskedForAtOnce(t *testing.T) {
	asked := map[[32]byte]bool{}
	pending := &testSigner{id: "far", size: 64, sign: func(d [32]byte) ([]byte, error) {
		asked[d] = true
		return nil, errors.New("pending")
	}}
	img := image(4, 1)
	var out bytes.Buffer
	fast, err := payload.Fast()
	require.NoError(t, err)
	_, err = payload.Write(context.Background(), &out, &payload.WriteOptions{
		Manifest: payload.Manifest{Info: info(), New: imageOf(img)},
		Plan:     payload.PlanFull(t.Context(), bytes.NewReader(img), int64(len(img)), &payload.FullOptions{Compress: fast}),
		Scratch:  new(scratch), Signers: []payload.Signer{pending, newEd25519("near", 1)},
	})
	assert.EqualError(t, err, "sign payload: key far: pending\nkey far: pending")
	assert.Len(t, asked, 2)
	assert.Zero(t, out.Len())
}
