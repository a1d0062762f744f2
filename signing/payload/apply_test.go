package payload_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"slipway/signing/payload"
)

// Copies and patches larger than any buffer, out of scattered blocks.
func TestLargeCopies(t *testing.T) {
	s := newEd25519("one", 1)
	old := image(1500, 21)
	src := []payload.Extent{{Start: 900, Blocks: 350}, {Start: 3, Blocks: 1}, {Start: 100, Blocks: 249}}
	var moved []byte
	for _, e := range src {
		moved = append(moved, old[e.Start*4096:(e.Start+e.Blocks)*4096]...)
	}
	patched := bytes.Clone(moved)
	diff := make([]byte, len(moved))
	for i := 0; i < len(diff); i += 1000 {
		diff[i], patched[i] = 1, patched[i]^1
	}
	img := append(bytes.Clone(moved), patched...)
	ops := []payload.Operation{
		{Type: payload.SourceCopy, Src: src, Dst: []payload.Extent{{Start: 0, Blocks: 1}, {Start: 1, Blocks: 599}}},
		{Type: payload.Patch, Src: src, Dst: []payload.Extent{{Start: 600, Blocks: 600}}, Data: diff},
	}
	for i := range ops {
		ops[i].SrcSHA256 = sha256.Sum256(moved)
		assert.Equal(t, int64(len(moved)), ops[i].SrcSize())
	}
	was := imageOf(old)
	p := write(t, payload.Manifest{Info: info(), Old: &was, New: imageOf(img)}, sequence(ops), s)
	o, d := options(len(img), old, s.key)
	_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(img, d.b))

	o, _ = options(len(img), old, s.key)
	o.Source = io.NewSectionReader(bytes.NewReader(old), 0, 1000*4096)
	_, err = payload.Apply(t.Context(), bytes.NewReader(p), o)
	assert.ErrorContains(t, err, "read source: unexpected EOF")
}

// faulty is a disk that fails.
type faulty struct {
	*disk
	write, sync, read error
	zeroed            int64
}

func (f *faulty) WriteAt(b []byte, off int64) (int, error) {
	if f.write != nil {
		return 0, f.write
	}
	return f.disk.WriteAt(b, off)
}

func (f *faulty) ReadAt(b []byte, off int64) (int, error) {
	if f.read != nil {
		return 0, f.read
	}
	return f.disk.ReadAt(b, off)
}

func (f *faulty) Sync() error { return f.sync }

func (f *faulty) ZeroAt(offset, size int64) error {
	if f.write != nil {
		return f.write
	}
	clear(f.b[offset : offset+size])
	f.zeroed += size
	return nil
}

func TestFaultyTarget(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	bad := errors.New("input/output error")
	for name, c := range map[string]struct {
		f    faulty
		want string
	}{
		"write":     {faulty{write: bad}, "write target: input/output error"},
		"sync":      {faulty{sync: bad}, "sync target: input/output error"},
		"read back": {faulty{read: bad}, "input/output error"},
	} {
		t.Run(name, func(t *testing.T) {
			o, d := options(len(img), old, s.key)
			c.f.disk = d
			o.Target, o.CheckpointEvery = &c.f, 1
			o.Checkpoint = func(*payload.Checkpoint) error { return nil }
			_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
			assert.ErrorIs(t, err, bad)
			assert.ErrorContains(t, err, c.want)
		})
	}
	o, d := options(len(img), old, s.key)
	f := &faulty{disk: d}
	o.Target = f
	_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(img, d.b))
	assert.Equal(t, int64(10*4096), f.zeroed, "zeros are made by the target's own method")
}

// What the caller says ends the work.
func TestCallbacksEndApply(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	stop := errors.New("stop")
	for name, set := range map[string]func(o *payload.ApplyOptions){
		"accept": func(o *payload.ApplyOptions) { o.Accept = func(*payload.Metadata) error { return stop } },
		"checkpoint": func(o *payload.ApplyOptions) {
			o.CheckpointEvery, o.Checkpoint = 1, func(*payload.Checkpoint) error { return stop }
		},
		"hash tree": func(o *payload.ApplyOptions) {
			o.HashTree = func(context.Context, io.ReaderAt, int64, []byte, io.WriterAt) error { return stop }
		},
		"patch": func(o *payload.ApplyOptions) {
			o.Patch = func(io.Writer, int64, io.ReaderAt, int64, []byte) error { return stop }
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, d := options(len(img), old, s.key)
			set(o)
			_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
			assert.ErrorIs(t, err, stop)
			assert.Equal(t, name != "accept", d.written)
		})
	}
	o, d := options(len(img), old, s.key)
	o.HashTree = func(_ context.Context, _ io.ReaderAt, _ int64, _ []byte, tree io.WriterAt) error {
		for _, off := range []int64{-1, 1, 4096, 1 << 40} {
			if _, err := tree.WriteAt(make([]byte, 4096), off); err == nil {
				return fmt.Errorf("wrote at %d", off)
			}
		}
		return stop
	}
	_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
	assert.ErrorIs(t, err, stop)
	assert.True(t, bytes.Equal(untouched, d.b[31*4096:32*4096]), "a hash tree stays in its place")
}

func TestMissingFunctions(t *testing.T) {
	s := newEd25519("one", 1)
	old, img, p := delta(t, s)
	o, _ := options(len(img), old, s.key)
	o.Patch = nil
	_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
	assert.EqualError(t, err, "internal error: payload: no function for patches")
	o.HashTree = nil
	_, err = payload.Apply(t.Context(), bytes.NewReader(p), o)
	assert.EqualError(t, err, "internal error: payload: no function for hash trees")
}

// During a rotation one of the keys is not known yet, or not any more.
func TestRotation(t *testing.T) {
	one, two := newEd25519("one", 1), newEd25519("two", 2)
	retired := one.key
	retired.Refused = "retired"
	img := image(6, 1)
	p := full(t, img, one, two)
	for name, keys := range map[string][]payload.Key{
		"old machine": {one.key}, "new machine": {two.key}, "both": {two.key, one.key}, "after": {retired, two.key},
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := options(len(img), nil, keys...)
			_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
			assert.NoError(t, err)
		})
	}
	o, _ := options(len(img), nil, retired)
	_, err := payload.Apply(t.Context(), bytes.NewReader(p), o)
	assert.EqualError(t, err, "payload metadata: signed by one, which is retired")
}

func TestReaderErrors(t *testing.T) {
	s, other := newEd25519("one", 1), newEd25519("two", 2)
	_, _, p := delta(t, s)
	_, err := payload.NewReader(bytes.NewReader(p), []payload.Key{other.key})
	unknown, ok := errors.AsType[*payload.UnknownKeyError](err)
	require.True(t, ok)
	assert.Equal(t, []string{"one"}, unknown.SignedBy)
	assert.Equal(t, []string{"two"}, unknown.Accepted)

	finish := func(p []byte, keys []payload.Key) error {
		r, err := payload.NewReader(bytes.NewReader(p), nil)
		require.NoError(t, err)
		_, err = r.Finish(keys)
		return err
	}
	assert.NoError(t, finish(p, nil))
	assert.Error(t, finish(p, []payload.Key{other.key}))
	assert.EqualError(t, finish(p[:len(p)-1], nil), fmt.Sprintf("payload: cut short after %d bytes", len(p)-1))
	at := len(p) - 2000
	assert.EqualError(t, finish(change(p, func(b []byte) { b[at] ^= 1 }), nil), "payload operation 5: the data of REPLACE is not what was signed")
	_, err = payload.Apply(t.Context(), cutReader(p, 100), &payload.ApplyOptions{})
	assert.EqualError(t, err, "payload: after 100 bytes: connection reset")
	assert.ErrorIs(t, err, errCut)
}

// Each field in a wire type that is not its own.
func TestManifestOfWrongTypes(t *testing.T) {
	s := newEd25519("one", 1)
	_, _, p := delta(t, s)
	m, err := payload.InspectMetadata(bytes.NewReader(p))
	require.NoError(t, err)
	good := payload.EncodeManifest(m.Manifest)
	_, err = payload.ParseManifest(good)
	require.NoError(t, err)
	inside := func(field protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), b)
	}
	wrong := func(field protowire.Number) []byte {
		switch field {
		case 3, 4, 5, 12, 14: // numbers
			return inside(field, []byte{1})
		}
		return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), 1)
	}
	var all [][]byte
	for _, f := range []protowire.Number{3, 4, 5, 12, 13, 14, 1000, 1001} {
		all = append(all, append(bytes.Clone(good), wrong(f)...))
	}
	text := func(f protowire.Number) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, f, protowire.VarintType), 1)
	}
	number := func(f protowire.Number) []byte { return inside(f, []byte{1}) }
	for _, f := range []protowire.Number{1, 6, 7, 8, 10, 11, 12, 13, 17} {
		all = append(all, inside(13, text(f)))
	}
	for _, f := range []protowire.Number{1, 2, 3, 4, 5, 7, 8, 9} {
		all = append(all, inside(1000, text(f)))
	}
	all = append(all, inside(1000, number(6)))
	for _, f := range []protowire.Number{1, 2, 3} {
		all = append(all, inside(13, inside(8, number(f))))
	}
	for _, f := range []protowire.Number{4, 6, 8, 9} {
		all = append(all, inside(13, inside(8, text(f))))
	}
	all = append(all,
		inside(13, inside(8, inside(6, number(1)))), inside(13, inside(6, number(1))), inside(13, inside(6, inside(2, []byte("short")))),
		inside(13, []byte{0x0b}), []byte{0xff}, []byte{0x0b, 0x0c}, []byte{0x0d, 1}, []byte{0x09, 1},
		bytes.Repeat([]byte{0xc3, 0x3e}, 1000), // groups in groups
		inside(1000, inside(1, []byte{0xff, 0xfe})),
		inside(1000, inside(1, bytes.Repeat([]byte("x"), 5000))),
		bytes.Repeat(inside(1001, []byte("k")), 17),
	)
	for i, b := range all {
		_, err := payload.ParseManifest(b)
		assert.ErrorContains(t, err, "payload manifest: ", "%d: %x", i, b[max(0, len(b)-20):])
	}
	// What is not known is passed over.
	more := append(bytes.Clone(good), inside(2000, []byte("later"))...)
	more = append(more, protowire.AppendFixed64(protowire.AppendTag(nil, 2001, protowire.Fixed64Type), 1)...)
	_, err = payload.ParseManifest(more)
	assert.NoError(t, err)
}

func TestCompareVersions(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"1.2.3", "1.2.3", 0}, {"1.2.3", "1.10.0", -1}, {"2.0.0", "1.9.9", 1}, {"", "0.0.1", -1}} {
		got, err := payload.CompareVersions(c.a, c.b)
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
	for _, v := range []string{"1", "1.2.3.4", "a.b.c", "-1.0.0", "1.2.99999999999"} {
		_, err := payload.CompareVersions(v, "1.0.0")
		assert.Error(t, err, v)
		_, err = payload.CompareVersions("1.0.0", v)
		assert.Error(t, err, v)
	}
}

// A compressor that lies is found out when the payload is made.
func TestCompressorIsChecked(t *testing.T) {
	img := image(40, 1)
	fast, err := payload.Fast()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		compress payload.Compressor
		want     string
	}{
		"fails":           {func(context.Context, []byte) ([]byte, error) { return nil, errors.New("exit status 1") }, "exit status 1"},
		"noise":           {func(context.Context, []byte) ([]byte, error) { return []byte("noise"), nil }, "the compressor's answer unpacks to: zstd frame"},
		"another content": {func(ctx context.Context, b []byte) ([]byte, error) { return fast(ctx, make([]byte, len(b))) }, "the compressor's answer unpacks to: another content"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := payload.Write(t.Context(), io.Discard, &payload.WriteOptions{
				Manifest: payload.Manifest{Info: info(), New: imageOf(img)}, Scratch: new(scratch),
				Plan:    payload.PlanFull(t.Context(), bytes.NewReader(img), int64(len(img)), &payload.FullOptions{Compress: payload.Checked(c.compress)}),
				Signers: []payload.Signer{newEd25519("one", 1)},
			})
			assert.ErrorContains(t, err, c.want)
		})
	}
	for _, size := range []int64{0, 5, 41 * 4096} {
		for _, err := range payload.PlanFull(t.Context(), bytes.NewReader(img), size, &payload.FullOptions{Compress: fast}) {
			if size != 41*4096 {
				assert.EqualError(t, err, fmt.Sprintf("image of %d bytes, want a multiple of 4096", size))
			} else if err != nil {
				assert.ErrorContains(t, err, "read image at 163840: EOF")
			}
		}
	}
	// Whoever stops early leaves nothing running that would write or block.
	for range payload.PlanFull(t.Context(), bytes.NewReader(image(5000, 2)), 5000*4096, &payload.FullOptions{Compress: fast, Workers: 3}) {
		break
	}
}
