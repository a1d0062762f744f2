package deb_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"slipway/build/deb"
)

func TestCompareVersions(t *testing.T) {
	// Each line from old to new.
	for _, line := range []string{
		"0~~ 0~~a 0~ 0 0a 0+ 1",
		"1.0~rc1 1.0 1.0-1 1.0-1+b1 1.0-1+b10 1.0-2 1.0+dfsg-1 1.1 1.9 1.10 10",
		"9:9 10:0 0010:1",
		"5.2.37-2 5.2.37-2+b10 5.2.37-3",
		"257.13-1~deb13u1 257.13-1 257.13-1.1",
		"1-99999999999999999999 1-100000000000000000000",
	} {
		versions := strings.Fields(line)
		for i, a := range versions {
			for j, b := range versions {
				got := deb.CompareVersions(a, b)
				assert.Equal(t, i < j, got < 0, "%s < %s", a, b)
				assert.Equal(t, i > j, got > 0, "%s > %s", a, b)
			}
		}
	}
	for _, equal := range []string{"1.0 0:1.0", "1.0 1.0-0", "1.00 1.0", "1.0-01 1.0-1"} {
		a, b, _ := strings.Cut(equal, " ")
		assert.Zero(t, deb.CompareVersions(a, b), equal)
	}
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1:2.3-4", "1:2.3~rc-4")
	f.Fuzz(func(t *testing.T, a, b string) {
		assert.Equal(t, deb.CompareVersions(a, b) > 0, deb.CompareVersions(b, a) < 0)
		assert.Zero(t, deb.CompareVersions(a, a))
	})
}
