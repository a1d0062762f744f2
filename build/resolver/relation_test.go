package resolver_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/resolver"
)

func show(groups []resolver.Group) string {
	var all []string
	for _, g := range groups {
		all = append(all, g.String())
	}
	return strings.Join(all, ", ")
}

func TestParseRelations(t *testing.T) {
	for _, c := range []struct{ in, want, wantErr string }{
		{in: "", want: ""},
		{in: "libc6", want: "libc6"},
		{in: " libc6 (>= 2.38) , zlib1g(>=1:1.1.4),", want: "libc6 (>= 2.38), zlib1g (>= 1:1.1.4)"},
		{in: "debconf (>= 0.5) | debconf-2.0", want: "debconf (>= 0.5) | debconf-2.0"},
		{in: "a (<< 1), b (<= 1), c (= 1), d (>> 1), e (< 1), f (> 1)",
			want: "a (<< 1), b (<= 1), c (= 1), d (>> 1), e (<= 1), f (>= 1)"},
		{in: "python3:any (>= 3.5~), perl:amd64", want: "python3:any (>= 3.5~), perl:amd64"},
		{in: "a [amd64], b [!amd64], c [i386], d [!i386], e [linux-any]", want: "a, d, e"},
		{in: "a [i386] | b", want: "b"},
		{in: "a <!nocheck>, b <stage1>, c <!nocheck !cross>, d <stage1> <!cross>", want: "a, c, d"},
		{in: "a (>= 1) [amd64] <!nodoc>", want: "a (>= 1)"},
		{in: "A_b.c+d", want: "A_b.c+d"},
		{in: "a b", wantErr: `relation "a b": unexpected 'b'`},
		{in: "(>= 1)", wantErr: `relation "(>= 1)": bad package name`},
		{in: "a |", wantErr: `relation "": bad package name`},
		{in: "a (>= 1", wantErr: `relation "a (>= 1": no closing bracket`},
		{in: "a (1)", wantErr: `relation "a (1)": bad version`},
		{in: "a (>=)", wantErr: `relation "a (>=)": bad version`},
		{in: "a (>= 1) (<< 2)", wantErr: `relation "a (>= 1) (<< 2)": two versions`},
		{in: "ä", wantErr: `relation "ä": bad package name`},
	} {
		got, err := resolver.ParseRelations(c.in, "amd64")
		if c.wantErr != "" {
			assert.EqualError(t, err, c.wantErr, c.in)
			continue
		}
		require.NoError(t, err, c.in)
		assert.Equal(t, c.want, show(got), c.in)
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		op   string
		want [3]bool // of versions 1, 2 and 3 against 2
	}{
		{"", [3]bool{true, true, true}},
		{"<<", [3]bool{true, false, false}},
		{"<=", [3]bool{true, true, false}},
		{"=", [3]bool{false, true, false}},
		{">=", [3]bool{false, true, true}},
		{">>", [3]bool{false, false, true}},
	} {
		r := resolver.Relation{Name: "a", Op: c.op, Version: "2"}
		got := [3]bool{r.Matches("1"), r.Matches("2"), r.Matches("3")}
		assert.Equal(t, c.want, got, c.op)
	}
}

// What was read and written again reads as the same.
func FuzzParseRelations(f *testing.F) {
	for _, s := range []string{
		"libc6 (>= 2.38), a | b (<< 1) [amd64 !i386] <!nocheck>", "a:any (= 1:2~3-4)", ",", "a |", "(", "a (>= ",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		groups, err := resolver.ParseRelations(s, "amd64")
		if err != nil {
			return
		}
		again, err := resolver.ParseRelations(show(groups), "amd64")
		require.NoError(t, err)
		require.Equal(t, groups, again)
	})
}
