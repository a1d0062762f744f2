package resolver_test

import (
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/archive"
	"slipway/build/resolver"
	"slipway/build/store"
)

// readIndex makes an index out of paragraphs, each written in short: the first
// line "name version", the others fields as in a Packages file.
func readIndex(t testing.TB, suite, short string) *archive.Index {
	t.Helper()
	var b strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(short), "\n\n") {
		first, rest, _ := strings.Cut(strings.TrimSpace(paragraph), "\n")
		name, version, ok := strings.Cut(strings.TrimSpace(first), " ")
		require.True(t, ok, first)
		b.WriteString("Package: " + name + "\nVersion: " + version + "\n")
		if !strings.Contains(rest, "Architecture:") {
			b.WriteString("Architecture: amd64\n")
		}
		for line := range strings.Lines(rest) {
			b.WriteString(strings.TrimSpace(line) + "\n")
		}
		b.WriteString("Filename: pool/" + name + "_" + version + ".deb\nSize: 1\n")
		b.WriteString("SHA256: " + store.Sum{1}.String() + "\n\n")
	}
	text := b.String()
	x, err := archive.ReadIndex("debian", suite, strings.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	return x
}

func render(r *resolver.Result) string {
	var b strings.Builder
	for _, p := range r.Packages {
		from := ""
		if p.Suite != "trixie" {
			from = " of " + p.Suite
		}
		b.WriteString(p.String() + from + " <- " + p.Why + "\n")
	}
	return b.String()
}

// want is what an overlay named base asks for.
func want(names ...string) []resolver.Want {
	var all []resolver.Want
	for _, n := range names {
		all = append(all, resolver.Want{Package: n, Why: "overlay base"})
	}
	return all
}

func TestResolve(t *testing.T) {
	for _, c := range resolveCases {
		t.Run(c.name, func(t *testing.T) {
			indexes := []resolver.Index{readIndex(t, "trixie", c.index)}
			if c.security != "" {
				indexes = append(indexes, readIndex(t, "trixie-security", c.security))
			}
			result, err := resolver.Resolve(&resolver.Request{
				Indexes: indexes, Packages: want(c.packages...), Prefer: c.prefer, Exclude: c.exclude,
			})
			if c.wantErr != "" {
				require.EqualError(t, err, c.wantErr)
				if c.wantHint != "" {
					assert.Equal(t, c.wantHint, err.(interface{ Hint() string }).Hint())
				}
				return
			}
			require.NoError(t, err)
			assert.Equal(t, strings.TrimSpace(c.want)+"\n", render(result))
		})
	}
}

// shuffled puts the paragraphs, the items of each field, the indexes and the
// wants in another order. The order of alternatives stays: it has a meaning.
func shuffled(rng *rand.Rand, text string) string {
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, p := range paragraphs {
		lines := strings.Split(p, "\n")
		for j, line := range lines {
			if field, value, ok := strings.Cut(line, ": "); ok {
				items := strings.Split(value, ", ")
				rng.Shuffle(len(items), func(a, b int) { items[a], items[b] = items[b], items[a] })
				lines[j] = field + ": " + strings.Join(items, ", ")
			}
		}
		paragraphs[i] = strings.Join(lines, "\n")
	}
	rng.Shuffle(len(paragraphs), func(a, b int) { paragraphs[a], paragraphs[b] = paragraphs[b], paragraphs[a] })
	return strings.Join(paragraphs, "\n\n")
}

func TestResolveIsTheSameInAnyOrder(t *testing.T) {
	for _, c := range resolveCases {
		if c.wantErr != "" {
			continue
		}
		for seed := range uint64(50) {
			rng := rand.New(rand.NewPCG(seed, 1))
			indexes := []resolver.Index{readIndex(t, "trixie", shuffled(rng, c.index))}
			if c.security != "" {
				indexes = append(indexes, readIndex(t, "trixie-security", shuffled(rng, c.security)))
			}
			wants := want(c.packages...)
			wants = append(wants, want(c.packages[0])...)
			rng.Shuffle(len(indexes), func(a, b int) { indexes[a], indexes[b] = indexes[b], indexes[a] })
			rng.Shuffle(len(wants), func(a, b int) { wants[a], wants[b] = wants[b], wants[a] })
			result, err := resolver.Resolve(&resolver.Request{
				Indexes: indexes, Packages: wants, Prefer: c.prefer, Exclude: c.exclude,
			})
			require.NoError(t, err)
			require.Equal(t, strings.TrimSpace(c.want)+"\n", render(result), "%s, seed %d", c.name, seed)
		}
	}
}

// Whatever the archive looks like, a result is complete and without conflict,
// and a result is found if a plain search over all sets finds one.
func TestResolveAgainstAllSubsets(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	solved := 0
	for seed := range uint64(1500) {
		rng := rand.New(rand.NewPCG(seed, 2))
		text := randomArchive(rng, names)
		x := readIndex(t, "trixie", text)
		result, err := resolver.Resolve(&resolver.Request{Indexes: []resolver.Index{x}, Packages: want("a")})
		sets := validSets(t, x, names)
		if err != nil {
			require.Empty(t, sets, "seed %d: %v\n%s", seed, err, text)
			continue
		}
		solved++
		var got []string
		for _, p := range result.Packages {
			got = append(got, p.Name)
		}
		require.Contains(t, sets, strings.Join(got, " "), "seed %d\n%s", seed, text)
	}
	require.Greater(t, solved, 500)
}

func randomArchive(rng *rand.Rand, names []string) string {
	var b strings.Builder
	pick := func() string { return names[rng.IntN(len(names))] }
	for _, n := range names {
		b.WriteString(n + " 1\n")
		var depends []string
		for range rng.IntN(3) {
			d := pick()
			for range rng.IntN(3) {
				d += " | " + pick()
			}
			depends = append(depends, d)
		}
		b.WriteString("Depends: " + strings.Join(depends, ", ") + "\n")
		if rng.IntN(3) == 0 {
			b.WriteString("Conflicts: " + pick() + "\n")
		}
		if rng.IntN(4) == 0 {
			b.WriteString("Provides: " + pick() + "\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// validSets tries every set of packages that holds the first: a second, naive
// implementation of what a valid result is.
func validSets(t *testing.T, x *archive.Index, names []string) []string {
	packages := make([]*archive.Package, len(names))
	for i, n := range names {
		all, err := x.Named(n)
		require.NoError(t, err)
		packages[i] = all[0]
	}
	fulfils := func(p *archive.Package, name string) bool { return p.Name == name || p.Provides == name }
	var valid []string
	for set := 1; set < 1<<len(names); set += 2 {
		in := func(i int) bool { return set&(1<<i) != 0 }
		has := func(name string, but int) bool {
			for i, p := range packages {
				if in(i) && i != but && fulfils(p, name) {
					return true
				}
			}
			return false
		}
		ok := true
		var list []string
		for i, p := range packages {
			if !in(i) {
				continue
			}
			list = append(list, p.Name)
			ok = ok && (p.Conflicts == "" || !has(p.Conflicts, i))
			for d := range strings.SplitSeq(p.Depends, ", ") {
				ok = ok && (d == "" || slices.ContainsFunc(strings.Split(d, " | "), func(n string) bool { return has(n, -1) }))
			}
		}
		if ok {
			valid = append(valid, strings.Join(list, " "))
		}
	}
	return valid
}

// damaged is an index that cannot be read.
type damaged struct{ err error }

func (d damaged) Named(string) ([]*archive.Package, error)     { return nil, d.err }
func (d damaged) Providing(string) ([]*archive.Package, error) { return nil, d.err }
func (d damaged) Names() iter.Seq[string]                      { return func(func(string) bool) {} }

func TestResolveDamagedIndex(t *testing.T) {
	_, err := resolver.Resolve(&resolver.Request{
		Indexes: []resolver.Index{damaged{assert.AnError}}, Packages: want("a"),
	})
	require.ErrorIs(t, err, assert.AnError)
}
