package lock_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/archive"
	"slipway/build/lock"
	"slipway/build/resolver"
	"slipway/build/store"
)

var (
	date  = time.Date(2026, time.March, 9, 22, 17, 43, 0, time.UTC)
	one   = store.Sum{1}
	two   = store.Sum{2}
	three = store.Sum{3}
)

// sample is a lock with everything a lock can hold.
func sample() *lock.Lock {
	return &lock.Lock{
		Format: 1, Date: date, Architecture: "amd64",
		Suites: []lock.Suite{
			{Archive: "debian", Suite: "trixie", Components: []string{"main", "non-free-firmware"}, InRelease: one, Date: date.Add(-time.Hour)},
			{Archive: "debian-security", Suite: "trixie-security", Components: []string{"main"}, InRelease: two, Date: date},
		},
		Packages: []lock.Package{
			{
				Name: "bash", Version: "5.2.37-2+b10", Architecture: "amd64", Archive: "debian",
				Path: "pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb", Size: 1_500_000, SHA256: one, Why: "overlay base",
				Scripts: map[string]store.Sum{"postrm": two, "postinst": three},
			},
			{
				Name: "tzdata", Version: "2026a-0+deb13u1", Architecture: "all", Archive: "debian-security",
				Path: "pool/a b/\"ü\".deb", Size: 1, SHA256: two, Why: "bash: Depends tzdata (>= 2024) | \"x\"",
			},
		},
		Programs: []lock.Program{
			{Path: "usr/bin/agent", Package: "./cmd/agent", Sources: one, Why: "overlay agent"},
			{Path: "usr/bin/etcd", Package: "go.etcd.io/etcd/server/v3", Version: "v3.5.35", Sources: two, Why: "overlay etcd"},
		},
	}
}

const sampleText = `format: 1
date: 2026-03-09T22:17:43Z
architecture: amd64
suites:
- archive: debian
  suite: trixie
  components: [main, non-free-firmware]
  inrelease: "0100000000000000000000000000000000000000000000000000000000000000"
  date: 2026-03-09T21:17:43Z
- archive: debian-security
  suite: trixie-security
  components: [main]
  inrelease: "0200000000000000000000000000000000000000000000000000000000000000"
  date: 2026-03-09T22:17:43Z
packages:
- name: bash
  version: "5.2.37-2+b10"
  architecture: amd64
  archive: debian
  path: "pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb"
  size: 1500000
  sha256: "0100000000000000000000000000000000000000000000000000000000000000"
  why: "overlay base"
  scripts:
    postinst: "0300000000000000000000000000000000000000000000000000000000000000"
    postrm: "0200000000000000000000000000000000000000000000000000000000000000"
- name: tzdata
  version: "2026a-0+deb13u1"
  architecture: all
  archive: debian-security
  path: "pool/a b/\"\u00fc\".deb"
  size: 1
  sha256: "0200000000000000000000000000000000000000000000000000000000000000"
  why: "bash: Depends tzdata (>= 2024) | \"x\""
programs:
- path: "usr/bin/agent"
  package: "./cmd/agent"
  sources: "0100000000000000000000000000000000000000000000000000000000000000"
  why: "overlay agent"
- path: "usr/bin/etcd"
  package: "go.etcd.io/etcd/server/v3"
  version: "v3.5.35"
  sources: "0200000000000000000000000000000000000000000000000000000000000000"
  why: "overlay etcd"
`

func write(t testing.TB, l *lock.Lock) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, l.Write(&b))
	return b.String()
}

func TestWriteAndRead(t *testing.T) {
	assert.Equal(t, sampleText, write(t, sample()))
	l, err := lock.Read(strings.NewReader(sampleText), "packages.lock")
	require.NoError(t, err)
	assert.Equal(t, sample(), l)
}

// A lock that a person has edited reads as well, and is written canonically.
func TestReadEdited(t *testing.T) {
	edited := strings.NewReplacer(
		`version: "5.2.37-2+b10"`, `version: 5.2.37-2+b10 # pinned`,
		"components: [main, non-free-firmware]", "components:\n    - main\n    - 'non-free-firmware'",
		"22:17:43Z", "23:17:43.5+01:00",
	).Replace("# by hand\n" + sampleText)
	require.NotEqual(t, sampleText, edited)
	l, err := lock.Read(strings.NewReader(edited), "packages.lock")
	require.NoError(t, err)
	assert.Equal(t, sampleText, write(t, l))
}

func TestReadErrors(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(sampleText, old, new, 1) }
	for _, c := range []struct{ name, text, wantErr string }{
		{"empty", "", "lock packages.lock: is empty"},
		{"comment only", "# nothing\n", "lock packages.lock: is empty"},
		{"unknown key", replace("  size: 1500000\n", "  size: 1500000\n  weight: 3\n"), `lock packages.lock:22: unknown field "weight"`},
		{"key twice", replace("  size: 1500000\n", "  size: 1500000\n  size: 3\n"), `lock packages.lock:22: mapping key "size" already defined at [21:3]`},
		{"not a number", replace("size: 1500000", "size: big"), `lock packages.lock:21: want a number, got "big"`},
		{"not YAML", "format: [1\n", "lock packages.lock:1: sequence end token ']' not found"},
		{"a list", "- 1\n", "lock packages.lock:1: sequence was used where mapping is expected"},
		{"not a date", replace("date: 2026-03-09T22:17:43Z", "date: soon"), `lock packages.lock: date "soon": want one like 2026-03-09T22:17:43Z`},
		{"a package of its own", replace("packages:", "packages: 5\nx:"), "lock packages.lock:15: "},
		{"format of the future", replace("format: 1", "format: 2"), "lock packages.lock: format 2: this program reads format 1"},
		{"short digest", replace(`"0100000000000000000000000000000000000000000000000000000000000000"`, `"01"`), `want 64 hex digits, got 2 characters`},
		{"no version", replace(`  version: "5.2.37-2+b10"`+"\n", ""), `lock packages.lock: package "bash": no version`},
		{"no digest", replace(`  sha256: "0100000000000000000000000000000000000000000000000000000000000000"`+"\n", ""), `lock packages.lock: package "bash": no sha256`},
		{"no archive", replace("  archive: debian\n  path", "  path"), `lock packages.lock: package "bash": no archive`},
		{"no size", replace("size: 1500000", "size: 0"), `lock packages.lock: package "bash": size 0`},
		{"path", replace("path: \"pool/", "path: \"../pool/"), `lock packages.lock: package "bash": path "../pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb" does not stay below a mirror's root`},
		{"architecture", replace("  architecture: amd64", "  architecture: arm64"), `lock packages.lock: package "bash": architecture "arm64", want "amd64" or "all"`},
		{"twice", replace("name: tzdata", "name: bash"), `lock packages.lock: package "bash": is there twice`},
		{"unsorted", replace("name: tzdata", "name: awk"), `lock packages.lock: package "awk": stands behind "bash", want them sorted by name`},
		{"half a suite", replace("  components: [main]\n", ""), `lock packages.lock: suite 2 ("trixie-security"): archive, suite, components, inrelease and date are needed`},
		{"program elsewhere", replace(`"usr/bin/etcd"`, `"usr/../etc/etcd"`), `lock packages.lock: program "usr/../etc/etcd": path is not below usr/`},
		{"program twice", replace(`"usr/bin/agent"`, `"usr/bin/etcd"`), `lock packages.lock: program "usr/bin/etcd": stands behind "usr/bin/etcd", want them sorted by path, each once`},
		{"program of nothing", replace(`  package: "./cmd/agent"`+"\n", ""), `lock packages.lock: program "usr/bin/agent": no package`},
		{"program without sources", replace("  sources: \"02", "  sources: \"zz"), `lock packages.lock: program "usr/bin/etcd": `},
		{"nothing", "format: 1\n", "lock packages.lock: date: missing (and 2 more)"},
	} {
		_, err := lock.Read(strings.NewReader(c.text), "packages.lock")
		require.Error(t, err, c.name)
		assert.Contains(t, err.Error(), c.wantErr, c.name)
		assert.NotContains(t, err.Error(), "\n", c.name)
	}
}

func TestCompare(t *testing.T) {
	change := func(f func(*lock.Lock)) string {
		l := sample()
		f(l)
		var lines []string
		for _, c := range lock.Compare(sample(), l) {
			lines = append(lines, c.String())
		}
		return strings.Join(lines, "\n")
	}
	assert.Empty(t, change(func(l *lock.Lock) {
		l.Packages[0].Why, l.Packages[0].Scripts, l.Suites[0].InRelease = "other", nil, three
	}))
	assert.Equal(t, "upgraded bash 5.2.37-2+b10 -> 5.2.37-2+b11",
		change(func(l *lock.Lock) { l.Packages[0].Version = "5.2.37-2+b11" }))
	assert.Equal(t, "downgraded bash 5.2.37-2+b10 -> 5.2.37-2+b9",
		change(func(l *lock.Lock) { l.Packages[0].Version = "5.2.37-2+b9" }))
	assert.Equal(t, "removed bash 5.2.37-2+b10\nadded zsh 5 (overlay x)", change(func(l *lock.Lock) {
		l.Packages[0] = lock.Package{Name: "zsh", Version: "5", Why: "overlay x"}
	}))
	assert.Equal(t, fmt.Sprintf("changed bash 5.2.37-2+b10: sha256 %s -> %s", one, three),
		change(func(l *lock.Lock) { l.Packages[0].SHA256 = three }))
	assert.Equal(t, `changed bash 5.2.37-2+b10: archive "debian" -> "debian-security", path "pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb" -> "x"`,
		change(func(l *lock.Lock) { l.Packages[0].Archive, l.Packages[0].Path = "debian-security", "x" }))
}

func TestComparePrograms(t *testing.T) {
	change := func(f func(*lock.Lock)) string {
		l := sample()
		f(l)
		var lines []string
		for _, c := range lock.ComparePrograms(sample().Programs, l.Programs) {
			lines = append(lines, c.String())
		}
		return strings.Join(lines, "\n")
	}
	assert.Empty(t, change(func(l *lock.Lock) { l.Programs[0].Why = "other" }))
	assert.Equal(t, "removed /usr/bin/agent\nadded /usr/bin/b v1 (overlay x)", change(func(l *lock.Lock) {
		l.Programs[0] = lock.Program{Path: "usr/bin/b", Version: "v1", Why: "overlay x"}
	}))
	assert.Equal(t, "changed /usr/bin/etcd v3.5.35 -> v3.5.36",
		change(func(l *lock.Lock) { l.Programs[1].Version = "v3.5.36" }))
	assert.Equal(t, "changed /usr/bin/agent: package ./cmd/agent -> x",
		change(func(l *lock.Lock) { l.Programs[0].Package = "x" }))
	assert.Equal(t, fmt.Sprintf("changed /usr/bin/etcd v3.5.35: sources %s -> %s", two, three),
		change(func(l *lock.Lock) { l.Programs[1].Sources = three }))
}

func TestVersion(t *testing.T) {
	for text, want := range map[string]string{
		"2013-07-01T00:00:00Z": "0.0.0", "2013-07-01T23:59:59Z": "0.0.0", "2013-07-02T00:00:00Z": "1.0.0",
		"2026-11-18T22:17:43Z": "4888.0.0", "2026-11-19T01:00:00+02:00": "4888.0.0",
	} {
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		assert.Equal(t, want, lock.Version(at, 0, 0), text)
	}
	assert.Equal(t, "4634.2.1", lock.Version(date, 2, 1))
}

func TestNew(t *testing.T) {
	p := func(name string) resolver.Selected {
		return resolver.Selected{Why: "overlay base", Package: &archive.Package{
			Name: name, Version: "1", Architecture: "all", Archive: "debian", Path: "pool/" + name, Size: 3, SHA256: one,
		}}
	}
	l := lock.New([]*archive.Suite{
		{Archive: "debian", Name: "trixie", Components: []string{"main"}, Architecture: "amd64", Release: &archive.Release{SHA256: one, Date: date}},
		{Archive: "debian-security", Name: "trixie-security", Components: []string{"main"}, Architecture: "amd64", Release: &archive.Release{SHA256: two, Date: date.Add(-time.Hour)}},
	}, &resolver.Result{Packages: []resolver.Selected{p("b"), p("a")}})
	require.NoError(t, l.Validate())
	assert.Equal(t, date, l.Date, "of the newest suite")
	assert.Equal(t, "a", l.Packages[0].Name)
	assert.Equal(t, []archive.Download{
		{Name: "a 1", Archive: "debian", Path: "pool/a", Size: 3, SHA256: one},
		{Name: "b 1", Archive: "debian", Path: "pool/b", Size: 3, SHA256: one},
	}, l.Downloads())
	assert.Equal(t, "b", l.Package("b").Name)
	assert.Nil(t, l.Package("c"))
}

func FuzzRead(f *testing.F) {
	f.Add(sampleText)
	f.Add(strings.Replace(sampleText, "[main]", "&a [main, *a]", 1))
	f.Add("format: 1\ndate: 2026-03-09\npackages: {}\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := lock.Read(strings.NewReader(text), "x")
		if err != nil {
			return
		}
		written := write(t, l)
		again, err := lock.Read(strings.NewReader(written), "x")
		require.NoError(t, err)
		require.Equal(t, written, write(t, again))
	})
}

func BenchmarkRead(b *testing.B) {
	l := sample()
	l.Packages = nil
	for i := range 139 {
		p := sample().Packages[0]
		p.Name = fmt.Sprintf("package-%03d", i)
		l.Packages = append(l.Packages, p)
	}
	text := write(b, l)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, err := lock.Read(strings.NewReader(text), "x")
		require.NoError(b, err)
	}
}

// The YAML package panics on this text.
func TestReadSurvivesTagWithoutValue(t *testing.T) {
	_, err := lock.Read(strings.NewReader("packages: ! "), "x.lock")
	assert.ErrorContains(t, err, "x.lock")
	assert.ErrorContains(t, err, "not understood as YAML")
}
