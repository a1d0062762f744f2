package resolver_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/resolver"
)

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func TestCompareAscends(t *testing.T) {
	// Every version is older than the next.
	ascending := []string{
		"0~~", "0~~a", "0~", "0", "0a", "0.0~rc1", "0.0", "0.1", "0.9-1", "0.9-1.1", "0.10-1",
		"1.0~~", "1.0~~a", "1.0~beta1~svn1245", "1.0~beta1", "1.0", "1.0-1~bpo12+1", "1.0-1",
		"1.0-1+b1", "1.0-1+deb13u1", "1.0-1+deb13u10", "1.0-2", "1.0a", "1.0+", "1.0.1-0.1", "1.1-1", "1.2.3-1-1",
		"2a", "2a0b", "2b", "2+", "2.", "10", "9999999999999999999999999999",
		"10000000000000000000000000000",
		"1:0", "1:0.1-1", "2:0~", "10:0",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			assert.Equal(t, sign(i-j), sign(resolver.Compare(a, b)), "%q and %q", a, b)
		}
	}
}

func TestCompareEqual(t *testing.T) {
	for _, pair := range [][2]string{
		{"1.0", "1.0"}, {"1.0", "1.0-0"}, {"0:1.0", "1.0"}, {"1.0", "1.00"}, {"1.01", "1.1"},
		{"1.0-1", "1.0-01"}, {"", "0"}, {"", ""}, {"a", "a0"}, {"1.0-", "1.0"}, {"00:1", "1"},
	} {
		assert.Zero(t, resolver.Compare(pair[0], pair[1]), "%q", pair)
	}
}

func FuzzCompare(f *testing.F) {
	for _, v := range []string{"1.0-1", "1:2~rc1-3+b1", "", "~", "a-", ":", "1:-", "2.3.4-5.6"} {
		f.Add(v, "1.0", "2:1~")
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, bc, ac := resolver.Compare(a, b), resolver.Compare(b, c), resolver.Compare(a, c)
		require.Equal(t, sign(ab), -sign(resolver.Compare(b, a)), "%q %q", a, b)
		require.Zero(t, resolver.Compare(a, a), "%q", a)
		if ab <= 0 && bc <= 0 {
			require.LessOrEqual(t, ac, 0, "%q %q %q", a, b, c)
			if ab < 0 || bc < 0 {
				require.Negative(t, ac, "%q %q %q", a, b, c)
			}
		}
	})
}
