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
	h, rest, err := readHeader(p)
	require.NoError(t, err)
	in, err := newInput(rest, &h.sizes)
	require.NoError(t, err)
	defer in.close()
	var all []byte
	for i := range in.s {
		start := len(all)
		for len(in.s[i].packed) > 0 {
			in.s[i].fill()
			n := uint64(len(in.s[i].b))
			all = append(binary.AppendUvarint(binary.AppendUvarint(all, n), n), in.s[i].b...)
		}
		h.sizes[i] = int64(len(all) - start)
	}
	require.NoError(t, in.err)
	return append(h.append(nil), all...)
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
