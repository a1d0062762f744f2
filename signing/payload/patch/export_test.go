package patch

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

var Suffixes = suffixes

// Longest is what a matcher finds.
func Longest(t testing.TB, old, fresh []byte, at int) (length, pos int) {
	t.Helper()
	sa, err := suffixes(old)
	require.NoError(t, err)
	return newMatcher(old, fresh, sa).longest(at)
}

// Streams is how many streams a patch has.
const Streams = streams

// Unpacked gives a patch that says the same in streams that are not packed.
func Unpacked(t testing.TB, p []byte) []byte {
	t.Helper()
	h, in := taken(t, p)
	return put(h, in)
}

// EmptyBlocks changes the only frame of a patch to n blocks of nothing, and
// gives the size of the new data that fits that.
func EmptyBlocks(t testing.TB, p []byte, n int) ([]byte, int64) {
	t.Helper()
	h, in := taken(t, p)
	in[blocks] = append([]byte{0}, make([]byte, 2*n)...)
	h.frames[0].size = int64(3 * n)
	h.newSize = h.frames[0].at + h.frames[0].size
	return put(h, in), h.newSize
}

// taken gives the header and the streams of a patch.
func taken(t testing.TB, p []byte) (*header, [streams][]byte) {
	t.Helper()
	h, rest, err := readHeader(p)
	require.NoError(t, err)
	in, err := newInput(rest, &h.sizes)
	require.NoError(t, err)
	defer in.close()
	var all [streams][]byte
	for i := range in.s {
		for len(in.s[i].packed) > 0 {
			in.s[i].fill()
			all[i] = append(all[i], in.s[i].b...)
		}
	}
	require.NoError(t, in.err)
	return h, all
}

// put makes a patch of streams that are not packed.
func put(h *header, all [streams][]byte) []byte {
	var b []byte
	for i, s := range all {
		start := len(b)
		for len(s) > 0 {
			n := min(len(s), maxPiece)
			b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(n)), uint64(n))
			b, s = append(b, s[:n]...), s[n:]
		}
		h.sizes[i] = int64(len(b) - start)
	}
	return append(h.append(nil), b...)
}

// MakeFew makes a patch of at most so many segments.
func MakeFew(t testing.TB, old, fresh []byte, most int) []byte {
	t.Helper()
	segments, err := findSegments(old, fresh)
	require.NoError(t, err)
	require.Greater(t, len(segments), most)
	var o output
	o.plain(old, fresh, few(segments, most))
	packed, sizes, err := o.pack()
	require.NoError(t, err)
	h := header{oldSize: int64(len(old)), newSize: int64(len(fresh)), sizes: sizes}
	return append(h.append(nil), packed...)
}
