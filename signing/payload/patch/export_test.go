package patch

import (
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
