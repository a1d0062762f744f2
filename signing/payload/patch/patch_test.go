package patch_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/payload/patch"
)

// program gives n bytes that are somewhat like a program: words of a small
// vocabulary, numbers, and zeros.
func program(rnd *rand.Rand, n int) []byte {
	words := make([][]byte, 200)
	for i := range words {
		words[i] = make([]byte, 1+rnd.IntN(12))
		for k := range words[i] {
			words[i][k] = byte(rnd.Uint32())
		}
	}
	b := make([]byte, 0, n+64)
	for len(b) < n {
		switch rnd.IntN(10) {
		case 0:
			b = append(b, make([]byte, rnd.IntN(40))...)
		case 1, 2:
			b = append(b, byte(rnd.Uint32()), byte(rnd.Uint32()), 0, 0)
		default:
			b = append(b, words[rnd.IntN(1+rnd.IntN(len(words)))]...)
		}
	}
	return b[:n]
}

// change gives another version of b: bytes differ, parts go, come and move.
func change(rnd *rand.Rand, b []byte, changes int) []byte {
	b = bytes.Clone(b)
	for range changes {
		at := rnd.IntN(len(b) + 1)
		n := min(rnd.IntN(400), len(b)-at)
		switch rnd.IntN(4) {
		case 0:
			for i := at; i < at+n; i += 1 + rnd.IntN(30) {
				b[i] += byte(1 + rnd.IntN(3))
			}
		case 1:
			b = append(b[:at], b[at+n:]...)
		case 2:
			b = append(b[:at], append(program(rnd, n), b[at:]...)...)
		case 3:
			part := bytes.Clone(b[at : at+n])
			b = append(b[:at], b[at+n:]...)
			to := rnd.IntN(len(b) + 1)
			b = append(b[:to], append(part, b[to:]...)...)
		}
	}
	return b
}

func pack(t testing.TB, b []byte, level zstd.EncoderLevel) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	defer e.Close()
	return e.EncodeAll(b, nil)
}

func apply(t testing.TB, old, p []byte, size int) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, patch.Apply(&out, int64(size), bytes.NewReader(old), int64(len(old)), p))
	return out.Bytes()
}

func roundTrip(t testing.TB, old, fresh []byte) []byte {
	t.Helper()
	p, err := patch.Make(old, fresh)
	require.NoError(t, err)
	require.True(t, bytes.Equal(fresh, apply(t, old, p, len(fresh))), "other bytes")
	return p
}

func TestRoundTrip(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		old := program(rnd, rnd.IntN(1<<(4+seed%12)))
		fresh := change(rnd, old, rnd.IntN(20))
		roundTrip(t, old, fresh)
	}
}

func TestEdges(t *testing.T) {
	noise := program(rand.New(rand.NewPCG(9, 9)), 200_000)
	zeros := make([]byte, 300_000)
	for name, pair := range map[string][2][]byte{
		"nothing to nothing": {nil, nil},
		"from nothing":       {nil, noise},
		"to nothing":         {noise, nil},
		"one byte":           {{1}, {2}},
		"the same":           {noise, noise},
		"zeros":              {zeros, zeros[:100_000]},
		"zeros to noise":     {zeros, noise},
		"doubled":            {noise, append(bytes.Clone(noise), noise...)},
		"swapped halves":     {noise, append(bytes.Clone(noise[100_000:]), noise[:100_000]...)},
		"a frame's magic":    {noise, []byte("\x28\xb5\x2f\xfd\x28\xb5\x2f\xfd\x00")},
	} {
		t.Run(name, func(t *testing.T) { roundTrip(t, pair[0], pair[1]) })
	}
}

// A few changes of much data cost little more than themselves.
func TestSize(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	old := program(rnd, 1<<19)
	assert.Less(t, len(roundTrip(t, old, old)), 100)

	fresh := bytes.Clone(old)
	for i := 1000; i < len(fresh); i += 1024 { // an address that moved by 64
		fresh[i] += 64
	}
	assert.Less(t, len(roundTrip(t, old, fresh)), 1200)
	assert.Less(t, len(roundTrip(t, old, change(rnd, old, 20))), 12_000)
}

// What was compressed is patched by its content.
func TestFrames(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	was := program(rnd, 300_000)
	is := change(rnd, was, 5)
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
		t.Run(level.String(), func(t *testing.T) {
			old := append(append(program(rnd, 5000), pack(t, was, level)...), program(rnd, 3000)...)
			packed := pack(t, is, level)
			fresh := append(append(bytes.Clone(old[:4990]), packed...), old[len(old)-2900:]...)
			p := roundTrip(t, old, fresh)
			t.Logf("frame %d bytes, patch %d", len(packed), len(p))
			assert.Less(t, len(p), len(packed)/4)
		})
	}
	t.Run("two", func(t *testing.T) {
		other := program(rnd, 100_000)
		old := append(pack(t, was, 2), pack(t, other, 2)...)
		fresh := append(pack(t, is, 2), pack(t, change(rnd, other, 5), 2)...)
		assert.Less(t, len(roundTrip(t, old, fresh)), len(fresh)/4)
	})
	t.Run("only in the new data", func(t *testing.T) {
		roundTrip(t, was, append(was[:1000:1000], pack(t, is, 3)...))
	})
	t.Run("only in the old data", func(t *testing.T) { roundTrip(t, pack(t, is, 3), was) })
	t.Run("zeros", func(t *testing.T) {
		b := append(make([]byte, 300_000), was[:100_000]...)
		roundTrip(t, pack(t, b, 3), pack(t, append(b, is...), 3))
	})
	t.Run("damaged", func(t *testing.T) {
		packed := pack(t, is, 3)
		packed[len(packed)/2]++
		roundTrip(t, pack(t, was, 3), packed)
	})
}

func TestDeterministic(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 4))
	was := program(rnd, 300_000)
	old, fresh := pack(t, was, 3), pack(t, change(rnd, was, 30), 3)
	first := roundTrip(t, old, fresh)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			p, err := patch.Make(old, fresh)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(first, p))
		})
	}
	group.Wait()
}

// The format stands: what was written once is applied for ever. Files that are
// not there are recorded.
func TestFormat(t *testing.T) {
	name := func(what string) string { return filepath.Join("testdata", "format-2."+what) }
	if _, err := os.Stat(name("patch")); os.IsNotExist(err) {
		rnd := rand.New(rand.NewPCG(5, 5))
		was := program(rnd, 70_000)
		old := append(program(rnd, 2000), pack(t, was, 2)...)
		fresh := append(change(rnd, old[:2000], 3), pack(t, change(rnd, was, 9), 2)...)
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(name("old"), old, 0o644))
		require.NoError(t, os.WriteFile(name("new"), fresh, 0o644))
		require.NoError(t, os.WriteFile(name("patch"), roundTrip(t, old, fresh), 0o644))
		t.Fatal("recorded")
	}
	var files [3][]byte
	for i, what := range []string{"old", "new", "patch"} {
		var err error
		files[i], err = os.ReadFile(name(what))
		require.NoError(t, err)
	}
	got := apply(t, files[0], files[2], len(files[1]))
	assert.True(t, bytes.Equal(files[1], got), "what patches mean has changed: the format needs a new number")
}

func TestDamage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 6))
	was := program(rnd, 80_000)
	old := append(program(rnd, 9000), pack(t, was, 2)...)
	fresh := append(change(rnd, old[:9000], 3), pack(t, change(rnd, was, 9), 2)...)
	p := roundTrip(t, old, fresh)
	try := func(bad []byte) {
		t.Helper()
		var out bytes.Buffer
		err := patch.Apply(&out, int64(len(fresh)), bytes.NewReader(old), int64(len(old)), bad)
		assert.LessOrEqual(t, out.Len(), len(fresh))
		if err == nil {
			assert.Len(t, out.Bytes(), len(fresh))
		}
	}
	for _, p := range [][]byte{p, patch.Unpacked(t, p)} {
		for at := range 60 { // the header, and more
			for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff} {
				bad := bytes.Clone(p)
				bad[at] = b
				try(bad)
			}
		}
		for range 400 {
			bad := bytes.Clone(p)
			if at := rnd.IntN(len(bad)); rnd.IntN(4) == 0 {
				bad = bad[:at]
			} else {
				bad[at] ^= byte(1 << rnd.IntN(8))
			}
			try(bad)
		}
	}
}

func TestRefuses(t *testing.T) {
	old := []byte("old data")
	good, err := patch.Make(old, []byte("new data"))
	require.NoError(t, err)
	streams := make([]byte, patch.Streams) // all of them empty
	head := func(v ...byte) []byte { return append(append([]byte{2}, v...), streams...) }
	for _, c := range []struct {
		name, want string
		patch      []byte
		size       int64
	}{
		{"empty", "patch: ends too early", nil, 8},
		{"other format", "patch: format 1, want 2", []byte{1}, 8},
		{"other size", "patch: leads from 8 bytes to 8, want from 8 to 9", good, 9},
		{"short", "patch: ends too early", good[:len(good)-1], 8},
		{"long", "patch: 1 bytes too many", append(good[:len(good):len(good)], 7), 8},
		{"short header", "patch: ends too early", good[:3], 8},
		{"too large", "patch: bad header", head(8, 0xff, 0xff, 0xff, 0xff, 0x7f), 8},
		{"too many frames", "patch: bad header", head(8, 8, 17), 8},
		{"old frame outside", "patch: bad header", head(8, 8, 1, 4, 5, 0, 0, 0, 8, 1), 8},
		{"new frame outside", "patch: bad header", head(8, 8, 1, 0, 8, 0, 0, 0, 9, 1), 8},
		{"frames that overlap", "patch: bad header", head(8, 8, 2, 0, 8, 0, 0, 0, 4, 1, 0, 0, 0, 0, 3, 5, 1), 8},
		{"huge frame", "patch: takes more than 60 MiB of memory", head(8, 8, 1, 0, 8, 0x80, 0x80, 0x80, 8, 0, 0, 8, 1), 8},
		{"no frame", "patch: old frame: unexpected EOF", head(8, 8, 1, 0, 0, 9, 9, 0, 8, 1), 8},
		{"bad frame", "patch: old frame: bad frame", head(8, 8, 1, 0, 8, 9, 9, 0, 8, 1), 8},
		{"nothing", "patch: ends too early", head(8, 8, 0), 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := patch.Apply(io.Discard, c.size, bytes.NewReader(old), int64(len(old)), c.patch)
			assert.EqualError(t, err, c.want)
		})
	}
}

// However much has moved, the old data is not read everywhere.
func TestFewSegments(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 11))
	old := program(rnd, 100_000)
	fresh := change(rnd, old, 200)
	for _, most := range []int{100, 10, 1} {
		p := patch.MakeFew(t, old, fresh, most)
		require.True(t, bytes.Equal(fresh, apply(t, old, p, len(fresh))))
	}
}

// A frame of nothing but blocks without content ends some time.
func TestManyBlocks(t *testing.T) {
	old := pack(t, program(rand.New(rand.NewPCG(12, 12)), 100_000), 2)
	p, size := patch.EmptyBlocks(t, roundTrip(t, old, old), 1<<17)
	err := patch.Apply(io.Discard, size, bytes.NewReader(old), int64(len(old)), p)
	assert.EqualError(t, err, "patch: new frame: more than 65536 blocks or 134217728 bytes of content")
}

type broken struct{ error }

func (b broken) ReadAt([]byte, int64) (int, error) { return 0, b.error }
func (b broken) Write([]byte) (int, error)         { return 0, b.error }

func TestErrors(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	old := program(rnd, 100_000)
	p, err := patch.Make(old, old)
	require.NoError(t, err)
	bad := errors.New("disk on fire")
	err = patch.Apply(io.Discard, int64(len(old)), broken{bad}, int64(len(old)), p)
	assert.ErrorIs(t, err, bad)
	err = patch.Apply(broken{bad}, int64(len(old)), bytes.NewReader(old), int64(len(old)), p)
	assert.ErrorIs(t, err, bad)
}

// Patches that do not fit side by side wait for each other.
func TestApplier(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 8))
	was := program(rnd, 100_000)
	old, fresh := pack(t, was, 2), pack(t, change(rnd, was, 9), 2)
	p, err := patch.Make(old, fresh)
	require.NoError(t, err)
	var a patch.Applier
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			var out bytes.Buffer
			assert.NoError(t, a.Apply(&out, int64(len(fresh)), bytes.NewReader(old), int64(len(old)), p))
			assert.True(t, bytes.Equal(fresh, out.Bytes()))
		})
	}
	group.Wait()
}

// FuzzApply: whatever a patch says, no more is written than was asked for.
// The seeds have streams that are not packed, so that changes reach what is in
// them.
func FuzzApply(f *testing.F) {
	rnd := rand.New(rand.NewPCG(10, 10))
	was := program(rnd, 70_000)
	old := append(program(rnd, 900), pack(f, was, 2)...)
	seed := func(fresh []byte) {
		p, err := patch.Make(old, fresh)
		require.NoError(f, err)
		f.Add(p, uint32(len(fresh)))
		p = patch.Unpacked(f, p)
		require.True(f, bytes.Equal(fresh, apply(f, old, p, len(fresh))))
		f.Add(p, uint32(len(fresh)))
		f.Add(p[:len(p)/2], uint32(len(fresh)))
	}
	seed(append(change(rnd, old[:900], 3), pack(f, change(rnd, was, 9), 2)...))
	seed(append(change(rnd, old[:900], 3), pack(f, change(rnd, was, 2), 1)...))
	seed(old[:1000])
	f.Fuzz(func(t *testing.T, p []byte, size uint32) {
		var out bytes.Buffer
		err := patch.Apply(&out, int64(size%(1<<20)), bytes.NewReader(old), int64(len(old)), p)
		if out.Len() > int(size%(1<<20)) || err == nil && out.Len() != int(size%(1<<20)) {
			t.Fatalf("%d bytes, want %d (%v)", out.Len(), size%(1<<20), err)
		}
	})
}

func FuzzMake(f *testing.F) {
	f.Add([]byte("one version of data"), []byte("another version of the data"))
	f.Fuzz(func(t *testing.T, old, fresh []byte) { roundTrip(t, old, fresh) })
}
