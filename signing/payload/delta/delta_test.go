package delta_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/payload"
	"slipway/signing/payload/delta"
	"slipway/signing/payload/patch"
)

const block = payload.BlockSize

// image is a made-up slot image: a head of file system structures, then files,
// each at the start of a block.
type image struct {
	bytes.Buffer
	files []delta.File
}

func newImage(head []byte) *image {
	m := new(image)
	m.add("", head)
	m.files = nil
	return m
}

func (m *image) add(path string, content []byte) {
	m.files = append(m.files, delta.File{Path: path, Start: int64(m.Len()), Size: int64(len(content))})
	m.Write(content)
	m.Write(make([]byte, -len(content)&(block-1)))
}

func (m *image) reader() *bytes.Reader { return bytes.NewReader(m.Bytes()) }

func options(t testing.TB, old, fresh *image) *delta.Options {
	compress, err := payload.Fast()
	require.NoError(t, err)
	return &delta.Options{
		Old: old.reader(), OldSize: int64(old.Len()), OldFiles: old.files,
		New: fresh.reader(), NewSize: int64(fresh.Len()), NewFiles: fresh.files,
		Compress: compress,
	}
}

func plan(t testing.TB, o *delta.Options) (ops []payload.Operation) {
	t.Helper()
	for op, err := range delta.Plan(t.Context(), o) {
		require.NoError(t, err)
		ops = append(ops, op)
	}
	return ops
}

func cost(ops []payload.Operation) (n int) {
	for _, op := range ops {
		n += len(op.Data)
	}
	return n
}

// execute does what the operations say, and checks that they write each block
// once, in order of their first, and hold what a reader of payloads demands.
func execute(t testing.TB, ops []payload.Operation, old, fresh *image, skip ...payload.Extent) {
	t.Helper()
	got := bytes.Repeat([]byte{0xaa}, fresh.Len())
	written := make([]bool, fresh.Len()/block)
	for _, e := range skip {
		copy(got[e.Start*block:(e.Start+e.Blocks)*block], fresh.Bytes()[e.Start*block:])
		for i := range e.Blocks {
			written[e.Start+i] = true
		}
	}
	last := uint64(0)
	d, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer d.Close()
	for i, op := range ops {
		require.LessOrEqual(t, last, op.Dst[0].Start, "operation %d", i)
		last = op.Dst[0].Start
		require.LessOrEqual(t, len(op.Data), payload.MaxData)
		var src bytes.Buffer
		for _, e := range op.Src {
			src.Write(old.Bytes()[e.Start*block : (e.Start+e.Blocks)*block])
		}
		if op.Src != nil {
			require.Equal(t, sha256.Sum256(src.Bytes()), op.SrcSHA256)
		}
		var out []byte
		switch op.Type {
		case payload.SourceCopy:
			out = src.Bytes()
		case payload.Zero:
			out = make([]byte, op.DstSize())
		case payload.Replace:
			out = op.Data
		case payload.ReplaceZstd:
			out, err = d.DecodeAll(op.Data, nil)
			require.NoError(t, err)
			require.LessOrEqual(t, len(out), payload.MaxReplace)
		case payload.Patch:
			var b bytes.Buffer
			require.NoError(t, patch.Apply(&b, op.DstSize(), bytes.NewReader(src.Bytes()), int64(src.Len()), op.Data))
			out = b.Bytes()
		}
		require.EqualValues(t, op.DstSize(), len(out))
		for _, e := range op.Dst {
			for k := range e.Blocks {
				require.False(t, written[e.Start+k], "block %d written twice", e.Start+k)
				written[e.Start+k] = true
			}
			n := copy(got[e.Start*block:(e.Start+e.Blocks)*block], out)
			out = out[n:]
		}
	}
	assert.NotContains(t, written, false)
	assert.True(t, bytes.Equal(fresh.Bytes(), got), "another image")
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// edit changes n bytes here and there.
func edit(b []byte, n int) []byte {
	b = bytes.Clone(b)
	for i := range n {
		b[(i*7919+13)%len(b)] ^= 0x55
	}
	return b
}

func pack(t testing.TB, b []byte) []byte {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	defer e.Close()
	return e.EncodeAll(b, nil)
}

func TestPlan(t *testing.T) {
	type file struct {
		path    string
		content []byte
	}
	same := noise(1, 300_000)
	for _, c := range []struct {
		name       string
		old, fresh []file
		most       int // bytes of data
	}{
		{"unchanged", []file{{"a", same}}, []file{{"a", same}}, 0},
		{"moved", []file{{"a", same}, {"b", noise(2, 9000)}}, []file{{"b", noise(2, 9000)}, {"a", same}}, 0},
		{"edited", []file{{"a", same}}, []file{{"a", edit(same, 9)}}, 200},
		{"edited and grown in front",
			[]file{{"a", same}}, []file{{"a", append([]byte("more"), edit(same, 9)...)}}, 250},
		{"new version number",
			[]file{{"lib/modules/6.12.107+deb13/a.ko", same}, {"lib/modules/6.12.107+deb13/b.ko", noise(3, 50_000)}},
			[]file{{"lib/modules/6.12.117+deb13/a.ko", edit(same, 9)}, {"lib/modules/6.12.117+deb13/b.ko", edit(noise(3, 50_000), 9)}}, 400},
		{"renamed",
			[]file{{"x", noise(4, 70_000)}, {"old name", same}}, []file{{"new name", edit(same, 9)}}, 250},
		{"new", []file{{"a", same}}, []file{{"a", same}, {"b", noise(5, 20_000)}}, 21_000},
		{"unlike", []file{{"a", same}}, []file{{"a", noise(6, 20_000)}}, 21_000},
		{"zeros", []file{{"a", same}}, []file{{"z", make([]byte, 100_000)}, {"a", edit(same, 1)}}, 150},
		{"nothing in common", []file{{"a", nil}}, []file{{"b", noise(7, 5_000)}}, 8_300},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, fresh := newImage([]byte("old head")), newImage([]byte("new head"))
			for _, f := range c.old {
				old.add(f.path, f.content)
			}
			for _, f := range c.fresh {
				fresh.add(f.path, f.content)
			}
			ops := plan(t, options(t, old, fresh))
			execute(t, ops, old, fresh)
			assert.LessOrEqual(t, cost(ops), c.most+100, "100 bytes for the head")
		})
	}
}

// A file of several compressed parts is patched part by part, by content.
func TestPacked(t *testing.T) {
	text := func(seed uint64) []byte { // half of it compresses
		b := noise(seed, 2<<20)
		for i := 0; i < len(b); i += 256 {
			copy(b[i:], b[i/4096*4096:i/4096*4096+128])
		}
		return b
	}
	kernel, ram := text(1), text(2)
	boot := func(n int) []byte {
		b := append(noise(3, 100_000), pack(t, edit(kernel, n))...)
		b = append(b, noise(4, 50_000)...)
		return append(append(b, pack(t, edit(ram, n))...), make([]byte, 300)...)
	}
	old, fresh := newImage(nil), newImage(nil)
	old.add("boot.efi", boot(0))
	fresh.add("boot.efi", boot(20))
	ops := plan(t, options(t, old, fresh))
	execute(t, ops, old, fresh)
	// If only the second part differs, it is still known for what it is.
	second := newImage(nil)
	b := append(noise(3, 100_000), pack(t, kernel)...)
	b = append(b, noise(4, 50_000)...)
	second.add("boot.efi", append(append(b, pack(t, edit(ram, 20))...), make([]byte, 300)...))
	few := plan(t, options(t, old, second))
	execute(t, few, old, second)
	assert.Less(t, cost(few), 100_000)

	patches := 0
	for _, op := range ops {
		if op.Type == payload.Patch {
			patches++
		}
	}
	assert.Equal(t, 2, patches)
	assert.Less(t, cost(ops), 200_000)
}

// What nobody says anything about is found all the same.
func TestNoFiles(t *testing.T) {
	old, fresh := newImage(noise(1, 400_000)), newImage(edit(noise(1, 400_000), 3))
	ops := plan(t, options(t, old, fresh))
	execute(t, ops, old, fresh)
	assert.Less(t, cost(ops), 200)
}

func TestSkip(t *testing.T) {
	old, fresh := newImage(noise(1, 100*block)), newImage(noise(2, 100*block))
	o := options(t, old, fresh)
	o.Skip = []payload.Extent{{Start: 3, Blocks: 90}}
	ops := plan(t, o)
	execute(t, ops, old, fresh, o.Skip...)
	assert.Less(t, cost(ops), 11*block)
}

// Neither the workers nor the order of the files make a difference.
func TestDeterministic(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	old, fresh := newImage(noise(1, 9000)), newImage(noise(2, 9000))
	for i := range 40 {
		b := noise(uint64(i+10), 100+rnd.IntN(60_000))
		old.add(fmt.Sprintf("lib-1.%d/f", i), b)
		fresh.add(fmt.Sprintf("lib-2.%d/f", i), edit(b, rnd.IntN(40)))
	}
	first := plan(t, options(t, old, fresh))
	execute(t, first, old, fresh)
	for workers := 1; workers <= 4; workers++ {
		o := options(t, old, fresh)
		o.Workers = workers
		rnd.Shuffle(len(o.OldFiles), func(i, k int) { o.OldFiles[i], o.OldFiles[k] = o.OldFiles[k], o.OldFiles[i] })
		rnd.Shuffle(len(o.NewFiles), func(i, k int) { o.NewFiles[i], o.NewFiles[k] = o.NewFiles[k], o.NewFiles[i] })
		assert.Equal(t, first, plan(t, o), "%d workers", workers)
	}
}

func TestGenerated(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		old, fresh := newImage(noise(seed, rnd.IntN(20_000))), newImage(noise(seed+1, rnd.IntN(20_000)))
		for i := range rnd.IntN(20) {
			b := noise(seed*100+uint64(i), rnd.IntN(40_000))
			if rnd.IntN(4) > 0 {
				old.add(fmt.Sprint("f", i), b)
			}
			if len(b) > 0 && rnd.IntN(2) == 0 {
				b = edit(b, rnd.IntN(99))
			}
			if rnd.IntN(4) > 0 {
				fresh.add(fmt.Sprint("f", i), b)
			}
		}
		old.Write(make([]byte, block*(1+rnd.IntN(20))))
		fresh.Write(make([]byte, block*(1+rnd.IntN(20))))
		execute(t, plan(t, options(t, old, fresh)), old, fresh)
	}
}

type broken struct{ error }

func (b broken) ReadAt([]byte, int64) (int, error) { return 0, b.error }

func TestErrors(t *testing.T) {
	old, fresh := newImage(noise(1, 50_000)), newImage(noise(2, 50_000))
	bad := errors.New("disk on fire")
	first := func(change func(*delta.Options)) error {
		o := options(t, old, fresh)
		change(o)
		for _, err := range delta.Plan(t.Context(), o) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	assert.ErrorIs(t, first(func(o *delta.Options) { o.Old = broken{bad} }), bad)
	assert.ErrorIs(t, first(func(o *delta.Options) { o.New = broken{bad} }), bad)
	assert.ErrorIs(t, first(func(o *delta.Options) {
		o.OldFiles, o.NewFiles = nil, []delta.File{{Path: "x", Start: 0, Size: int64(fresh.Len())}}
		o.Compress = func(context.Context, []byte) ([]byte, error) { return nil, bad }
	}), bad)
	assert.EqualError(t, first(func(o *delta.Options) { o.NewSize-- }),
		"delta: images of 53248 and 53247 bytes, want multiples of 4096")
	assert.EqualError(t, first(func(o *delta.Options) { o.Skip = []payload.Extent{{Start: 9, Blocks: 9}} }),
		"delta: new image: nothing to skip at block 9+9")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range delta.Plan(ctx, options(t, old, fresh)) {
		assert.ErrorIs(t, err, context.Canceled)
	}
}

var _ io.ReaderAt = broken{}
