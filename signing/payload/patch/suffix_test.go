package patch_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/payload/patch"
)

// The standard library promises nothing about how it writes suffix arrays.
func TestSuffixes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{0, 1, 2, 3, 100, 1000, 70_000} {
		data := program(rnd, size)
		sa, err := patch.Suffixes(data)
		require.NoError(t, err)
		require.Len(t, sa, size)
		assert.True(t, slices.IsSortedFunc(sa, func(a, b int32) int { return bytes.Compare(data[a:], data[b:]) }))
	}
}

func TestLongest(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for _, size := range []int{0, 1, 2, 50, 3000} {
		old := program(rnd, size)
		fresh := append(change(rnd, old, 3), 1, 2, 0, 0, 255, 255, 255)
		for at := range fresh {
			best := 0
			for from := range old {
				n := 0
				for at+n < len(fresh) && from+n < len(old) && fresh[at+n] == old[from+n] {
					n++
				}
				best = max(best, n)
			}
			if best < 2 {
				best = 0
			}
			length, pos := patch.Longest(t, old, fresh, at)
			require.Equal(t, best, max(length, 0), "size %d at %d", size, at)
			require.Equal(t, fresh[at:at+length], old[pos:pos+length])
		}
		if len(fresh) > 1000 {
			break // enough
		}
	}
}
