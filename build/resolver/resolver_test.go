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
		b.WriteString(p.String() + " <- " + p.Why + "\n")
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

type resolveCase struct {
	name     string
	index    string
	security string // a second index
	packages []string
	prefer   map[string]string
	exclude  []string
	want     string
	wantErr  string
	wantHint string
}

var resolveCases = []resolveCase{{
	name: "depends and pre-depends, not recommends",
	index: `
a 1
Pre-Depends: b
Depends: c (>= 2)
Recommends: d

b 1

c 2-1

d 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
b 1 <- a: Pre-Depends b
c 2-1 <- a: Depends c (>= 2)`,
}, {
	name: "a cycle, and essential packages only when needed",
	index: `
a 1
Depends: b

b 1
Depends: a

init 1
Essential: yes`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
b 1 <- a: Depends b`,
}, {
	name: "the highest version of all suites",
	index: `
a 1.0-1

b 2`,
	security: `
a 1.0-1+deb13u1
Depends: b

b 1`,
	packages: []string{"a"},
	want: `
a 1.0-1+deb13u1 <- overlay base
b 2 <- a: Depends b`,
}, {
	name: "other architectures do not count",
	index: `
a 1

a 2
Architecture: i386

b 1
Architecture: all`,
	packages: []string{"a", "b"},
	want: `
a 1 <- overlay base
b 1 <- overlay base`,
}, {
	name: "the first alternative",
	index: `
a 1
Depends: b | c

b 1

c 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
b 1 <- a: Depends b | c`,
}, {
	name: "an alternative that is needed anyhow",
	index: `
a 1
Depends: b | c, d

b 1

c 1

d 1
Depends: e

e 1
Depends: c`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
c 1 <- e: Depends c
d 1 <- a: Depends d
e 1 <- d: Depends e`,
}, {
	name: "the first alternative that can be installed",
	index: `
a 1
Depends: nothing | old (>= 2) | broken | c

old 1

broken 1
Depends: missing

c 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
c 1 <- a: Depends nothing | old (>= 2) | broken | c`,
}, {
	name: "an alternative without conflict",
	index: `
a 1
Depends: b | c, d

b 1
Breaks: d (<< 5)

c 1

d 4`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
c 1 <- a: Depends b | c
d 4 <- a: Depends d`,
}, {
	name: "a choice that is taken back",
	index: `
a 1
Depends: b | c, x | y

b 1

c 1

x 1
Conflicts: b

y 1
Conflicts: b`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
c 1 <- a: Depends b | c
x 1 <- a: Depends x | y`,
}, {
	name: "a preferred alternative",
	index: `
a 1
Depends: b | c

b 1

c 1`,
	packages: []string{"a"},
	prefer:   map[string]string{"b": "c"},
	want: `
a 1 <- overlay base
c 1 <- a: Depends b | c`,
}, {
	name: "virtual packages by priority, name and preference",
	index: `
a 1
Depends: awk, mta, shell

gawk 1
Provides: awk
Priority: optional

mawk 1
Provides: awk
Priority: required

exim 1
Provides: mta

bmail 1
Provides: mta

bash 1
Provides: shell

zsh 1
Provides: shell`,
	packages: []string{"a"},
	prefer:   map[string]string{"shell": "zsh"},
	want: `
a 1 <- overlay base
bmail 1 <- a: Depends mta
mawk 1 <- a: Depends awk
zsh 1 <- a: Depends shell`,
}, {
	name: "versions of what is provided",
	index: `
a 1
Depends: v (>= 2)

b 1
Provides: v

c 1
Provides: v (= 1.9)

d 1
Provides: v (= 2.0)`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
d 1 <- a: Depends v (>= 2)`,
}, {
	name: "a real package before one that provides its name",
	index: `
a 1
Depends: v

b 1
Provides: v

v 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
v 1 <- a: Depends v`,
}, {
	name: "a virtual package in an overlay, and a real one that is provided, too",
	index: `
awk 1

b 1
Provides: awk, mta

c 1
Provides: mta

z 1
Provides: mta`,
	packages: []string{"b", "awk", "mta", "z"},
	want: `
awk 1 <- overlay base
b 1 <- overlay base
z 1 <- overlay base`,
}, {
	name: "any architecture",
	index: `
a 1
Depends: b:any, c:amd64

b 1
Multi-Arch: allowed

c 1`,
	packages: []string{"a"},
	want: `
a 1 <- overlay base
b 1 <- a: Depends b:any
c 1 <- a: Depends c:amd64`,
}, {
	name: "what concerns other architectures",
	index: `
a 1
Depends: all:amd64, gone [i386]
Conflicts: b:x32, c:i386, gone:any

all 1
Architecture: all

b 1

c 1`,
	packages: []string{"a", "b", "c"},
	want: `
a 1 <- overlay base
all 1 <- a: Depends all:amd64
b 1 <- overlay base
c 1 <- overlay base`,
}, {
	name: "only one of us",
	index: `
a 1
Provides: mta
Conflicts: mta`,
	packages: []string{"a"},
	want:     `a 1 <- overlay base`,
}, {
	name:     "a version in the overlay",
	index:    "a 1.5",
	packages: []string{"a (>= 1.2)"},
	want:     `a 1.5 <- overlay base`,
}, {
	name: "unknown package", index: "docker.io 1\n\ndocker-cli 1\n\nsystemd 1\n\nsystemd-sysv 1",
	packages: []string{"docker"},
	wantErr:  `overlay base: package "docker": there is no package of that name`,
	wantHint: "did you mean docker.io, docker-cli?",
}, {
	name: "misspelt package", index: "systemd 1\n\nsystemd-sysv 1\n\nudev 1",
	packages: []string{"sytemd"},
	wantErr:  `overlay base: package "sytemd": there is no package of that name`,
	wantHint: "did you mean systemd?",
}, {
	name: "chain down to what is missing",
	index: `
docker.io 26.1
Depends: containerd (>= 1.6)

containerd 1.7
Depends: runc (>= 9)

runc 1.1`,
	packages: []string{"docker.io"},
	wantErr:  `overlay base: docker.io 26.1: containerd 1.7: Depends runc (>= 9): the archive has runc 1.1`,
}, {
	name: "no alternative is left",
	index: `
a 1
Depends: b (>= 2) | v (>= 3) | c | d | libc:any

b 1

x 1
Provides: v (= 2)

d 1

libc 1`,
	packages: []string{"a"},
	exclude:  []string{"d"},
	wantErr: `overlay base: a 1: Depends b (>= 2) | v (>= 3) | c | d | libc:any: the archive has b 1; ` +
		`the archive has v (= 2) of x; there is no package of that name; d is excluded; ` +
		`the archive has libc for amd64 only`,
}, {
	name: "first of several that all lack something",
	index: `
a 1
Depends: b | c

b 1
Depends: missing

c 1
Depends: gone`,
	packages: []string{"a"},
	wantErr:  `overlay base: a 1: b 1: Depends missing: there is no package of that name`,
}, {
	name: "conflict",
	index: `
a 1
Depends: b

b 2

c 3
Conflicts: b (<< 3)`,
	packages: []string{"a", "c"},
	wantErr:  `c Conflicts b (<< 3): wanted by overlay base: c 3; and by overlay base: a 1: b 2`,
}, {
	name: "conflict with what is provided",
	index: `
a 1
Provides: mta
Conflicts: mta

b 1
Provides: mta`,
	packages: []string{"a", "b"},
	wantErr:  `a Conflicts mta: wanted by overlay base: a 1; and by overlay base: b 1`,
}, {
	name:     "bad name in an overlay",
	packages: []string{"a b"},
	index:    "a 1",
	wantErr:  `overlay base: relation "a b": unexpected 'b'`,
}, {
	name:     "bad field",
	packages: []string{"a"},
	index:    "a 1\nDepends: b (",
	wantErr:  `package "a": Depends: relation "b (": no closing bracket`,
}}

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
