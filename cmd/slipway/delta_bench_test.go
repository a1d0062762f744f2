package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
)

// BenchmarkDelta makes the delta payload of a real security update, kernel
// included: from the image of the stable suite alone to that of the stable and
// the security suite. Beside it xdelta3 and zstd make theirs of the same two
// slot images, raw and whole; nothing is stripped on either side, and the
// payload is counted with its manifest and signatures. Then each is applied
// five times, in turn; the medians count. It also changes one file of an
// overlay. The peers need 3 GB of memory:
//
//	go test -run - -bench Delta -benchtime 1x -timeout 60m ./cmd/slipway
func BenchmarkDelta(b *testing.B) {
	root, err := filepath.Abs("../..")
	require.NoError(b, err)
	base := b.TempDir()
	program := filepath.Join(base, "slipway")
	cost(b, root, nil, "go", "build", "-o", program, "./cmd/slipway")
	old, fresh := securityPair(b, root, base, program)
	oldSlot, freshSlot := filepath.Join(old, "usr.img"), filepath.Join(fresh, "usr.img")
	update, edit := filepath.Join(base, "update"), filepath.Join(base, "edit")
	xdelta, packed, target := filepath.Join(base, "xdelta"), filepath.Join(base, "zstd"), filepath.Join(base, "target")

	for b.Loop() {
		create := cost(b, root, nil, program, "payload", "create", "--from", old, "-o", update, fresh)
		x := costOf(b, toolstest.Command(b, "xdelta3", "-e", "-f", "-9", "-B1073741824", "-s", oldSlot, freshSlot, xdelta))
		z := costOf(b, toolstest.Command(b, "zstd", "-f", "-q", "-19", "-T1", "--long=31", "--patch-from="+oldSlot, freshSlot, "-o", packed))
		apply := []string{program, "payload", "apply", "--source", old, "--target", target, update}
		unpack := []string{"zstd", "-d", "-f", "-q", "--long=31", "--patch-from=" + oldSlot, packed, "-o", target}
		var ours, theirs, memory []float64
		for range 5 {
			u := cost(b, root, nil, apply...)
			requireSame(b, freshSlot, target)
			ours, memory = append(ours, u.cpu.Seconds()), append(memory, float64(u.memory)/(1<<20))
			theirs = append(theirs, costOf(b, toolstest.Command(b, unpack[0], unpack[1:]...)).cpu.Seconds())
		}

		edited := oneFileChange(b, root, base, program, filepath.Join(fresh, "packages.lock"))
		cost(b, root, nil, program, "payload", "create", "--from", fresh, "-o", edit, edited)

		size := sizeOf(b, update)
		b.ReportMetric(size, "bytes")
		b.ReportMetric(size/sizeOf(b, xdelta), "of-xdelta3")
		b.ReportMetric(size/sizeOf(b, packed), "of-zstd-19")
		b.ReportMetric(sizeOf(b, edit), "one-file-bytes")
		b.ReportMetric(create.cpu.Seconds(), "create-cpu-s")
		b.ReportMetric(create.cpu.Seconds()/x.cpu.Seconds(), "create-cpu-of-xdelta3")
		b.ReportMetric(create.cpu.Seconds()/z.cpu.Seconds(), "create-cpu-of-zstd-19")
		b.ReportMetric(float64(create.memory)/(1<<20), "create-peak-MiB")
		b.ReportMetric(middle(ours), "apply-cpu-s")
		b.ReportMetric(middle(ours)/middle(theirs), "apply-cpu-of-zstd")
		b.ReportMetric(slices.Max(memory), "apply-peak-MiB")
	}
}

// middle is the median.
func middle(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// securityPair builds the image of the stable suite as it was released, and
// the one with what the security suite has added since.
func securityPair(b *testing.B, root, base, program string) (old, fresh string) {
	b.Helper()
	// A checkout whose channel knows the stable suite only. Locks are all that
	// is made from it.
	checkout := filepath.Join(base, "checkout")
	require.NoError(b, os.CopyFS(filepath.Join(checkout, "overlays"), os.DirFS(filepath.Join(root, "overlays"))))
	require.NoError(b, os.WriteFile(filepath.Join(checkout, "go.mod"), []byte("module slipway\n"), 0o644))
	channel := filepath.Join(checkout, "overlays/channels/alpha.yaml")
	text, err := os.ReadFile(channel)
	require.NoError(b, err)
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, "debian-security") {
			kept.WriteString(line)
		}
	}
	require.NoError(b, os.WriteFile(channel, []byte(kept.String()), 0o644))

	releases := make([]string, 2)
	for i, from := range []string{checkout, root} {
		locked := filepath.Join(base, []string{"old.lock", "new.lock"}[i])
		cost(b, from, nil, program, "lock", "--file", locked)
		releases[i] = buildRelease(b, root, program, "--lock", locked, "--out", filepath.Join(base, "out"), "--version",
			[]string{"1.0.0", "1.0.1"}[i])
	}
	return releases[0], releases[1]
}

// oneFileChange builds an image that differs by one file of an overlay.
func oneFileChange(b *testing.B, root, base, program, locked string) string {
	b.Helper()
	overlay := filepath.Join(base, "motd")
	require.NoError(b, os.MkdirAll(filepath.Join(overlay, "files/usr/share/motd"), 0o755))
	require.NoError(b, os.WriteFile(filepath.Join(overlay, "overlay.yaml"), []byte("description: A greeting\n"), 0o644))
	require.NoError(b, os.WriteFile(filepath.Join(overlay, "files/usr/share/motd/greeting"), []byte("hello\n"), 0o644))
	return buildRelease(b, root, program, "--lock", locked, "--overlay", overlay, "--out", filepath.Join(base, "out"),
		"--version", "1.0.2")
}

// buildRelease builds an image and gives its directory.
func buildRelease(b *testing.B, root, program string, args ...string) string {
	b.Helper()
	cmd := exec.Command(program, append([]string{"build"}, args...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(b, err, "%s", &stderr)
	return strings.TrimSpace(string(out))
}

func costOf(b *testing.B, cmd *exec.Cmd) usage {
	b.Helper()
	start := time.Now()
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, "%s: %s", cmd.Path, out)
	state := cmd.ProcessState
	return usage{time.Since(start), state.UserTime() + state.SystemTime(), peak(state)}
}

func sizeOf(b *testing.B, name string) float64 {
	b.Helper()
	st, err := os.Stat(name)
	require.NoError(b, err)
	return float64(st.Size())
}

func requireSame(b *testing.B, want, got string) {
	b.Helper()
	out, err := exec.Command("cmp", want, got).CombinedOutput()
	require.NoError(b, err, "%s", out)
}
