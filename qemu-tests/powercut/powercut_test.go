package powercut_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/powercut"
)

func sector(b byte) []byte { return bytes.Repeat([]byte{b}, powercut.Sector) }

func write(t *testing.T, w io.WriterAt, lba int64, content ...byte) {
	t.Helper()
	var p []byte
	for _, b := range content {
		p = append(p, sector(b)...)
	}
	_, err := w.WriteAt(p, lba*powercut.Sector)
	require.NoError(t, err)
}

// show is a disk by the first byte of each sector.
func show(t *testing.T, d io.ReaderAt, sectors int64) string {
	t.Helper()
	var text []byte
	p := make([]byte, powercut.Sector)
	for lba := range sectors {
		_, err := d.ReadAt(p, lba*powercut.Sector)
		require.NoError(t, err)
		require.Equal(t, sector(p[0]), p)
		text = append(text, map[byte]byte{0: '.'}[p[0]]|p[0])
	}
	return string(text)
}

func TestDiskReadsWhatWasWritten(t *testing.T) {
	root := bytes.Repeat([]byte("root"), 1024)
	want := slices.Clone(root)
	d := powercut.Over(bytes.NewReader(root), 4096)
	var clones []*powercut.Disk
	var wants [][]byte
	for i := range 40 {
		off, p := int64(i*97), bytes.Repeat([]byte{byte(i)}, i*7)
		_, err := d.WriteAt(p, off)
		require.NoError(t, err)
		copy(want[off:], p)
		clear(p) // the disk keeps none of the caller's memory
		clones, wants = append(clones, d.Clone()), append(wants, slices.Clone(want))
	}
	for i, c := range clones {
		got := make([]byte, 4096)
		_, err := c.ReadAt(got, 0)
		require.NoError(t, err)
		require.Equal(t, wants[i], got, "clone %d", i)
		write(t, c, 0, byte(i))
	}
	got := make([]byte, 4096)
	_, err := d.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, want, got, "what is written to clones stays there")

	n, err := d.ReadAt(got, 4000)
	assert.Equal(t, 96, n)
	assert.Equal(t, io.EOF, err)
	_, err = d.WriteAt(make([]byte, 97), 4000)
	assert.EqualError(t, err, "write of 97 bytes at 4000: disk is 4096 bytes")
}

func TestDigestStandsForContent(t *testing.T) {
	a, b := powercut.New(8*512), powercut.New(8*512)
	write(t, a, 1, 'x', 'y')
	write(t, b, 2, 'y')
	assert.NotEqual(t, a.Digest(), b.Digest())
	b = b.Clone()
	write(t, b, 0, 0, 'x')
	assert.Equal(t, a.Digest(), b.Digest())
	a.Zero(1, 2)
	assert.Equal(t, powercut.New(8*512).Digest(), a.Digest())
	write(t, b, 1, 'y', 'x')
	write(t, a, 1, 'x', 'y')
	assert.NotEqual(t, a.Digest(), b.Digest(), "the place counts")
}

// Of few sectors every selection is visited, and each content once.
func TestStatesOfAShortRecording(t *testing.T) {
	start := powercut.New(4 * 512)
	write(t, start, 0, 'a', 'b')
	rec := powercut.Record(start)
	rec.Mark("first")
	write(t, rec, 0, 'A')
	require.NoError(t, rec.Sync())
	rec.Mark("second")
	write(t, rec, 1, 'B', 'C')
	write(t, rec, 1, 'D')

	got := map[string]string{}
	for s := range rec.States(powercut.Options{}) {
		text := show(t, s, 4)
		require.NotContains(t, got, text)
		got[text] = s.Mark
	}
	assert.Equal(t, map[string]string{
		"ab..": "first", "Ab..": "first",
		"AB..": "second", "AbC.": "second", "ABC.": "second", "AD..": "second", "ADC.": "second",
	}, got)
	assert.Equal(t, "ADC.", show(t, rec, 4))
	assert.Equal(t, "ab..", show(t, start, 4), "the start stays as it is")
	assert.Equal(t, []int64{0, 1, 2, 1}, rec.Sectors())
	assert.Equal(t, 1, rec.Syncs())
	assert.Equal(t, `[mark "first" write 0+512 sync mark "second" write 512+1024 write 512+512]`, fmt.Sprint(rec.Operations()))
}

// Of many sectors the kinds of cuts that are promised are all there.
func TestStatesOfALongRecording(t *testing.T) {
	rec := powercut.Record(powercut.New(16 * 512))
	write(t, rec, 0, 'a', 'b', 'c', 'd')
	write(t, rec, 4, 'e', 'f', 'g', 'h')
	write(t, rec, 8, 'i', 'j', 'k', 'l')
	got := map[string]bool{}
	for s := range rec.States(powercut.Options{Seed: 3}) {
		got[show(t, s, 12)] = true
	}
	for _, want := range []string{
		"............", "abcdefghijkl", "abcd........", "abcdefgh....", // prefixes
		"abcdef......", "abcd..gh....", "abcdefgh...l", // torn
		"....efghijkl", "abcd....ijkl", "abcdefgh....", // one dropped
		"....efgh....", "........ijkl", // reordered
		".bcdefghijkl", "abcdefghij.l", "......g.....", "..........kl",
	} {
		assert.Contains(t, got, want)
	}
	assert.Greater(t, len(got), 80)
}

func TestStatesAreRepeatable(t *testing.T) {
	run := func(seed uint64) (list []string) {
		rec := powercut.Record(powercut.New(64 * 512))
		for i := range int64(30) {
			write(t, rec, i*2, byte('0'+i), 'x')
		}
		for s := range rec.States(powercut.Options{Seed: seed}) {
			list = append(list, s.String()+show(t, s, 64))
		}
		return list
	}
	assert.Equal(t, run(1), run(1))
	assert.NotEqual(t, run(1), run(2))
}

// A recording with more sectors than places to cut at is sampled.
func TestStatesOfALargeWrite(t *testing.T) {
	rec := powercut.Record(powercut.New(1 << 20))
	_, err := rec.WriteAt(bytes.Repeat([]byte("0123456789abcdef"), 1<<16-32), 512)
	require.NoError(t, err)
	n := 0
	for s := range rec.States(powercut.Options{Random: -1}) {
		n++
		require.LessOrEqual(t, s.Size(), int64(1<<20))
	}
	assert.Greater(t, n, 1000)
	assert.Less(t, n, 3000)
}

// What a caller does to one state shows in no other, and states known from
// another recording are left out if the caller says so.
func TestStatesMayBeChanged(t *testing.T) {
	rec := powercut.Record(powercut.New(4 * 512))
	write(t, rec, 0, 'a', 'b')
	seen := map[[16]byte]bool{}
	for s := range rec.States(powercut.Options{Seen: seen}) {
		require.Equal(t, "..", show(t, s, 4)[2:])
		again := powercut.Record(s.Disk)
		write(t, again, 2, 'z')
		for s := range again.States(powercut.Options{Seen: seen}) {
			require.Equal(t, "z.", show(t, s, 4)[2:], "without it the state is known")
		}
	}
	assert.Len(t, seen, 8)
}

func BenchmarkStates(b *testing.B) {
	rec := powercut.Record(powercut.New(1 << 30))
	for i := range int64(200) {
		_, _ = rec.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 4096), i<<16)
		if i%20 == 19 {
			_ = rec.Sync()
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range rec.States(powercut.Options{}) {
			n++
		}
		b.ReportMetric(float64(n), "states")
	}
}
