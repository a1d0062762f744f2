package main_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/disk"
	"slipway/build/fat"
	"slipway/cmd/internal/release"
	slipway "slipway/cmd/slipway"
	"slipway/partitions"
)

// A line for each of the cases that every release has to pass.
const allPass = `{"Action":"pass","Test":"TestBIOS/alpha","Time":"2026-11-21T10:00:00Z"}
{"Action":"pass","Test":"TestUEFI/alpha"}
{"Action":"pass","Test":"TestUpdate/alpha/good-slot"}
{"Action":"pass","Test":"TestUpdate/alpha/corrupt-data"}
{"Action":"pass","Test":"TestUpdate/alpha/never-healthy"}
{"Action":"pass","Test":"TestUpdate/alpha/other-kernel-and-back"}
`

// The cases that are required are those of qemu-tests.
func TestRequiredCasesExist(t *testing.T) {
	var sources strings.Builder
	names, err := filepath.Glob("../../qemu-tests/*_test.go")
	require.NoError(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		sources.Write(text)
	}
	for _, name := range slipway.RequiredCases() {
		function, sub, _ := strings.Cut(name, "/")
		assert.Contains(t, sources.String(), "func "+function+"(t *testing.T)")
		if sub != "" {
			assert.Contains(t, sources.String(), `{"`+sub+`", everyChannel`, "a case of every channel")
		}
	}
}

func TestPromoteUsage(t *testing.T) {
	newProject(t)
	for args, want := range map[string]string{
		"promote --from alpha":                  `promote: --to "": not a channel`,
		"promote --from alpha --to ../beta":     `promote: --to "../beta": not a channel`,
		"promote --from alpha --to alpha":       "promote: from alpha to alpha: the same channel",
		"promote --from a --to b --version 1":   `promote: --version "1": not MAJOR.MINOR.PATCH`,
		"promote --from a --to b --sequence -1": "promote: --sequence -1: less than 1",
		"promote --from a --to b --time today":  `promote: --time "today": not a time of RFC 3339`,
		"promote --from a --to b now":           `promote: argument "now": not expected`,
		"promote --from a --to b --no-evidence": "flag provided but not defined: -no-evidence",
		"test --record x":                       "test: --record: of which release?",
		"test --record x --run y some/release":  "test: --record runs nothing",
		"test --channel beta some/release":      "test: --channel: a release has its own",
	} {
		status, stdout, stderr := run(t, strings.Fields(args)...)
		assert.Equal(t, 2, status, args)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, "slipway: "+want+"\nhint: ")
	}
	status, _, stderr := run(t, "promote", "--from", "alpha", "--to", "beta")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: channel alpha: readlink out/alpha/current: no such file or directory\nhint: slipway build --channel alpha")
}

// promoting is a release of alpha with a key that signs, one that does not
// count, and what the results of tests are written to.
type promoting struct {
	*testing.T
	out, alpha, version   string
	key, pub, other, file string
}

func newPromoting(t *testing.T, payload string) *promoting {
	if testing.Short() {
		t.Skip("builds an image")
	}
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	p := &promoting{T: t, out: at("out"), key: at("key"), pub: at("pub"), other: at("other"), file: at("results.json")}
	writeKey(t, p.key)
	writePublicKey(t, p.pub, 0)
	writePublicKey(t, p.other, 1)
	status, stdout, stderr := run(t, "build", "--key", p.key, "--payload", payload, "--out", p.out)
	require.Zero(t, status, stderr)
	p.alpha = strings.TrimSpace(stdout)
	p.version = filepath.Base(p.alpha)
	return p
}

// record records results of tests that somebody else ran.
func (p *promoting) record(lines string) {
	p.Helper()
	require.NoError(p, os.WriteFile(p.file, []byte(lines), 0o644))
	status, _, stderr := run(p.T, "test", p.alpha, "--record", p.file, "--by", "lab 3", "--key", p.key)
	require.Zero(p, status, stderr)
}

func (p *promoting) promote(args ...string) (status int, stdout, stderr string) {
	p.Helper()
	return run(p.T, append([]string{"promote", "--from", "alpha", "--to", "beta", "--releases", p.out, "--key", p.key}, args...)...)
}

// refused promotes, which has to fail with one line and a hint, and leave
// nothing.
func (p *promoting) refused(want string, args ...string) {
	p.Helper()
	status, stdout, stderr := p.promote(args...)
	assert.Equal(p, 1, status)
	assert.Empty(p, stdout)
	assert.Contains(p, stderr, "slipway: "+want)
	assert.Contains(p, stderr, "\nhint: ")
	entries, err := filepath.Glob(filepath.Join(p.out, "beta", "*"))
	require.NoError(p, err)
	assert.Empty(p, entries)
}

// The life of a release: it is tested, promoted, verified, promoted on.
func TestPromote(t *testing.T) {
	p := newPromoting(t, "development")
	evidence := filepath.Join(p.alpha, release.EvidenceFile)

	p.refused(p.alpha + ": no evidence that it works: no evidence.json\n")
	p.record(strings.Replace(allPass, `"pass","Test":"TestUEFI`, `"fail","Test":"TestUEFI`, 1))
	p.refused(p.alpha + ": evidence.json: failed: TestUEFI\n")
	require.NoError(t, os.Remove(evidence))
	p.record(strings.Join(strings.SplitAfter(allPass, "\n")[:4], ""))
	p.refused(p.alpha + ": evidence.json: not passed on these bytes: TestUpdate/never-healthy, TestUpdate/other-kernel-and-back\n")
	p.record(allPass)
	p.refused(p.alpha+": evidence.json: not passed on these bytes: lab/power\n", "--require", "lab/power")
	undo := flipByte(t, filepath.Join(p.alpha, release.Lock), 40)
	p.refused(filepath.Join(p.alpha, release.Lock) + ": digest ")
	undo()
	undo = flipByte(t, evidence, 250)
	status, _, stderr := p.promote()
	assert.Equal(t, 1, status, "evidence that was changed")
	assert.NotContains(t, stderr, "internal error")
	undo()

	status, stdout, stderr := p.promote()
	require.Zero(t, status, stderr)
	beta := filepath.Join(p.out, "beta", p.version)
	assert.Equal(t, beta+"\n", stdout)
	assert.Contains(t, stderr, "from alpha to beta, pointer 1 signed by ")
	target, err := os.Readlink(filepath.Join(p.out, "beta", "current"))
	require.NoError(t, err)
	assert.Equal(t, p.version, target)

	was, err := release.Read(p.alpha)
	require.NoError(t, err)
	is, err := release.Read(beta)
	require.NoError(t, err)
	assert.Equal(t, "beta", is.Channel)
	assert.Equal(t, "alpha", is.Promoted.Channel)
	a, b := was.Digests(), is.Digests()
	assert.NotEqual(t, a[release.Disk], b[release.Disk])
	delete(a, release.Disk)
	delete(b, release.Disk)
	assert.Equal(t, a, b, "the same bytes")
	assert.Equal(t, "GROUP=alpha\n", p.oem(p.alpha))
	assert.Equal(t, "GROUP=beta\n", p.oem(beta))

	for _, dir := range []string{filepath.Join(p.out, "beta", "current"), filepath.Join(p.out, "beta")} {
		status, _, stderr = run(t, "verify", dir, "--pub", p.pub)
		require.Zero(t, status, stderr)
		assert.Contains(t, stderr, "evidence.json 6 cases passed, none failed, signed by ")
		assert.Contains(t, stderr, "channel.json number 1, beta gives "+p.version+", signed by ")
	}
	p.pointerIsChecked(beta)

	// Once more is nothing new; a delta made meanwhile comes along.
	delta := "update-from-1.0.0.payload"
	require.NoError(t, os.Link(filepath.Join(p.alpha, release.Payload), filepath.Join(p.alpha, delta)))
	status, stdout, stderr = p.promote()
	require.Zero(t, status, stderr)
	assert.Equal(t, beta+"\n", stdout)
	assert.Contains(t, stderr, "nothing changed")
	assert.FileExists(t, filepath.Join(beta, delta))
	status, stdout, stderr = run(t, "promote", "--from", "beta", "--to", "stable", "--releases", p.out, "--key", p.key, "--json",
		"--time", "2026-12-01T00:00:00Z")
	require.Zero(t, status, stderr)
	assert.Contains(t, stdout, `"sequence":1`)
	d, err := release.ReadPointer(filepath.Join(p.out, "stable"))
	require.NoError(t, err)
	assert.Equal(t, "2026-12-01T00:00:00Z", d.Body.Date)
	assert.Equal(t, "beta", d.Body.From)
	assert.Equal(t, "GROUP=stable\n", p.oem(filepath.Join(p.out, "stable", p.version)))

	// Back to alpha it is the image it was.
	require.NoError(t, os.Rename(filepath.Join(p.out, "alpha"), filepath.Join(p.out, "first")))
	status, _, stderr = run(t, "promote", "--from", "stable", "--to", "alpha", "--releases", p.out, "--key", p.key)
	require.Zero(t, status, stderr)
	round, err := release.Read(filepath.Join(p.out, "alpha", p.version))
	require.NoError(t, err)
	assert.Equal(t, was.Digests(), round.Digests())

	p.olderVersion()
}

// pointerIsChecked changes what the pointer is about.
func (p *promoting) pointerIsChecked(beta string) {
	p.Helper()
	pointer := filepath.Join(p.out, "beta", release.PointerFile)
	text, err := os.ReadFile(pointer)
	require.NoError(p, err)
	require.NoError(p, os.WriteFile(pointer, []byte(strings.Replace(string(text), `"sequence": 1`, `"sequence": 2`, 1)), 0o644))
	status, _, stderr := run(p.T, "verify", beta, "--pub", p.pub)
	assert.Equal(p, 1, status)
	assert.Contains(p, stderr, "slipway: channel.json: pointer: bad signature by ")
	require.NoError(p, os.WriteFile(pointer, text, 0o644))
	status, _, stderr = run(p.T, "verify", beta, "--pub", p.other)
	assert.Equal(p, 1, status)
	assert.Contains(p, stderr, "not signed by an accepted key")
}

// olderVersion has a pointer to a newer version in the way.
func (p *promoting) olderVersion() {
	p.Helper()
	channel := filepath.Join(p.out, "beta")
	require.NoError(p, os.Remove(filepath.Join(channel, release.PointerFile)))
	require.NoError(p, os.Remove(filepath.Join(channel, "current")))
	require.NoError(p, os.Symlink("9999.0.0", filepath.Join(channel, "current")))
	status, _, stderr := p.promote()
	assert.Equal(p, 1, status)
	assert.Contains(p, stderr, "slipway: channel beta: gives 9999.0.0, which is newer than "+p.version+"\nhint: --allow-older ")
	status, _, stderr = p.promote("--allow-older", "--sequence", "7")
	assert.Zero(p, status, stderr)
	d, err := release.ReadPointer(channel)
	require.NoError(p, err)
	assert.EqualValues(p, 7, d.Body.Sequence)
	status, _, stderr = p.promote("--sequence", "7")
	assert.Equal(p, 1, status)
	assert.Contains(p, stderr, "slipway: channel beta: has pointer 7, which 7 does not follow\n")
}

// oem reads update.conf in the disk image of a release.
func (p *promoting) oem(dir string) string {
	p.Helper()
	f, err := os.Open(filepath.Join(dir, release.Disk))
	require.NoError(p, err)
	defer f.Close()
	st, err := f.Stat()
	require.NoError(p, err)
	table, err := partitions.Read(f, st.Size(), 512)
	require.NoError(p, err)
	part, ok := table.ByLabel(disk.LabelOEM)
	require.True(p, ok)
	files, err := fat.Open(io.NewSectionReader(f, part.Start*512, part.Size*512), part.Size*512)
	require.NoError(p, err)
	r, err := files.Lookup(disk.ChannelPath).Blob.Open()
	require.NoError(p, err)
	defer r.Close()
	text, err := io.ReadAll(r)
	require.NoError(p, err)
	return string(text)
}

// Keys that are elsewhere sign evidence, release and pointer in two steps.
func TestPromoteSignedElsewhere(t *testing.T) {
	p := newPromoting(t, "none")
	exchange := t.TempDir()
	require.NoError(t, os.WriteFile(p.file, []byte(allPass), 0o644))
	twice := func(pending string, args ...string) {
		t.Helper()
		args = append(args, "--key", "public:"+p.pub)
		status, _, stderr := run(t, append(args, "--digests-out", exchange)...)
		assert.Equal(t, 1, status)
		assert.Contains(t, stderr, "slipway: "+pending+" to sign in "+exchange)
		status, _, stderr = run(t, "sign", exchange, "--key", p.key)
		require.Zero(t, status, stderr)
		status, _, stderr = run(t, append(args, "--signatures-in", exchange)...)
		require.Zero(t, status, stderr)
	}
	twice("1 digest", "test", p.alpha, "--record", p.file)
	twice("2 digests", "promote", "--from", "alpha", "--to", "beta", "--releases", p.out)
	status, _, stderr := run(t, "verify", filepath.Join(p.out, "beta"), "--pub", p.pub)
	require.Zero(t, status, stderr)
	assert.Contains(t, stderr, "channel.json number 1, beta gives ")

	// Another key may sign too, without a change to what is said.
	second := filepath.Join(t.TempDir(), "second")
	writeSeededKey(t, second, 1)
	for _, name := range []string{
		filepath.Join(p.out, "beta", release.PointerFile), filepath.Join(p.alpha, release.EvidenceFile),
		filepath.Join(p.out, "beta", p.version, release.Manifest),
	} {
		before, err := os.ReadFile(name)
		require.NoError(t, err)
		status, _, stderr = run(t, "sign", name, "--key", second)
		require.Zero(t, status, stderr)
		after, err := os.ReadFile(name)
		require.NoError(t, err)
		if filepath.Base(name) != release.Manifest {
			assert.NotEqual(t, before, after)
		}
	}
	d, err := release.ReadPointer(filepath.Join(p.out, "beta"))
	require.NoError(t, err)
	assert.Len(t, d.Signatures, 2)

	// A slot that both releases share is signed in one of them alone.
	status, _, stderr = run(t, "sign", filepath.Join(p.out, "beta", p.version, release.Slot), "--key", second)
	require.Zero(t, status, stderr)
	info, err := release.Read(p.alpha)
	require.NoError(t, err)
	for _, e := range info.Files {
		if e.Name == release.Slot {
			assert.NoError(t, e.Check(p.alpha, 2))
			assert.Error(t, e.Check(filepath.Join(p.out, "beta", p.version), 2))
		}
	}
	other, err := release.ReadEvidence(p.alpha)
	require.NoError(t, err)
	assert.Len(t, other.Signatures, 2)
}

// "slipway test RELEASE" records what "go test" says, here a program that
// stands in for it.
func TestTestRecordsWhatItRuns(t *testing.T) {
	p := newPromoting(t, "none")
	bin := t.TempDir()
	stand := func(lines string, status string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(bin, "lines"), []byte(lines), 0o644))
		script := "#!/bin/sh\necho \"$@\" >" + bin + "/args\ncat " + bin + "/lines\nexit " + status + "\n"
		require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755))
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	stand(`{"Action":"output","Test":"TestBIOS/alpha","Output":"=== RUN   TestBIOS\n"}`+"\n"+
		`{"Action":"fail","Test":"TestBIOS/alpha","Elapsed":3}`+"\n", "1")
	status, stdout, stderr := run(t, "test", p.alpha, "--run", "TestBIOS", "--key", p.key)
	assert.Equal(t, 1, status)
	assert.Equal(t, "=== RUN   TestBIOS\n", stdout)
	assert.Contains(t, stderr, "evidence   0 passed, 1 failed, 0 skipped, signed by ")
	assert.Contains(t, stderr, "slipway: test: "+p.alpha+": exit status 1\nhint: slipway test "+p.alpha+" --run NAME repeats one case\n")
	args, err := os.ReadFile(filepath.Join(bin, "args"))
	require.NoError(t, err)
	assert.Equal(t, "test -json -v -count=1 -timeout=3h ./qemu-tests -run TestBIOS -args -accel=auto -release="+p.alpha+" -sign=--key="+p.key+"\n", string(args))

	stand(`{"Action":"pass","Test":"TestBIOS/alpha"}`+"\n", "0")
	status, stdout, stderr = run(t, "test", p.alpha, "--key", p.key, "--json")
	assert.Zero(t, status, stderr)
	assert.Contains(t, stdout, `{"Action":"pass","Test":"TestBIOS/alpha"}`+"\n")
	last := strings.Split(strings.TrimSpace(stdout), "\n")
	var result struct {
		Event  string
		Result struct{ Passed, Failed int }
	}
	require.NoError(t, json.Unmarshal([]byte(last[len(last)-1]), &result))
	assert.Equal(t, "result", result.Event)
	assert.Equal(t, 1, result.Result.Passed)

	d, err := release.ReadEvidence(p.alpha)
	require.NoError(t, err)
	require.Len(t, d.Body.Runs, 2)
	assert.Equal(t, release.Case{Name: "TestBIOS", Result: release.Failed, Seconds: 3}, d.Body.Runs[0].Cases[0])
	assert.Equal(t, "slipway test", d.Body.Runs[0].By)
	assert.Regexp(t, "^(sources|revision) [0-9a-f]{40,64}$", d.Body.Runs[0].Slipway)

	// What cannot be signed for is kept, not lost; and nobody vouches for what
	// others recorded.
	stranger := filepath.Join(t.TempDir(), "stranger")
	writeSeededKey(t, stranger, 1)
	status, _, stderr = run(t, "test", p.alpha, "--key", stranger)
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "evidence.json: evidence: not signed by an accepted key")
	kept, err := filepath.Glob(filepath.Join(p.out, "alpha", ".results-*"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	assert.Contains(t, stderr, "warning: the results are in "+kept[0])
	status, _, stderr = run(t, "test", p.alpha, "--record", kept[0], "--key", stranger, "--pub", p.pub)
	assert.Zero(t, status, stderr)
}

// Where a release was promoted to, none is built in its place.
func TestBuildLeavesThePromotedAlone(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	channel := filepath.Join(p.root, "out", "alpha")
	require.NoError(t, os.MkdirAll(channel, 0o755))
	d, err := release.NewPointer(&release.Pointer{
		Format: 1, Name: "slipway", Channel: "alpha", Version: "4.0.0", Release: strings.Repeat("0", 64), From: "nightly", Sequence: 1,
	})
	require.NoError(t, err)
	require.NoError(t, release.WritePointer(channel, d))
	status, _, stderr := run(t, "build", "--version", "4.0.0")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: channel alpha: 4.0.0 was promoted from nightly, and is not built anew\nhint: --version V")
	_, _, stderr = run(t, "build", "--version", "4.0.1")
	assert.Contains(t, stderr, "warning: channel alpha gives its machines 4.0.0, which its pointer names: slipway promote moves that\n")
}
