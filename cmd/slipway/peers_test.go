package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"slipway/build/archive"
	"slipway/build/lock"
	"slipway/build/store"
)

// BenchmarkPeers builds the alpha image with everything downloaded and nothing
// unpacked, and beside it a tree of the same packages with mmdebstrap and a
// squashfs of its /usr. The peer finds the same files downloaded as well, but
// for apt, dpkg and what else only it needs. It reports the ratios of wall time
// and processor time; run it as root on Debian with mmdebstrap and
// squashfs-tools installed:
//
//	go test -run - -bench Peers -benchtime 1x -timeout 30m ./cmd/slipway
func BenchmarkPeers(b *testing.B) {
	for _, program := range []string{"mmdebstrap", "mksquashfs"} {
		if _, err := exec.LookPath(program); err != nil {
			b.Skipf("%v: install mmdebstrap and squashfs-tools", err)
		}
	}
	mirrors, err := archive.FindMirrors(&archive.MirrorOptions{
		Env: os.Getenv("SLIPWAY_MIRROR"), Host: os.DirFS("/"),
	})
	require.NoError(b, err)
	root, err := filepath.Abs("../..")
	require.NoError(b, err)
	base := b.TempDir()
	program := filepath.Join(base, "slipway")
	cost(b, root, nil, "go", "build", "-o", program, "./cmd/slipway")
	locked := filepath.Join(base, "packages.lock")
	cost(b, root, nil, program, "lock", "--file", locked)
	cache, err := os.UserCacheDir()
	require.NoError(b, err)
	if dir := os.Getenv("SLIPWAY_CACHE"); dir != "" {
		cache = filepath.Dir(dir)
	}
	kept := filepath.Join(cache, "slipway")
	names := poolOf(b, locked, filepath.Join(kept, "store"), filepath.Join(base, "pool"))

	var ours, theirs usage
	for b.Loop() {
		// A fresh cache with the downloads and the tools: neither is unpacked
		// by the peer either.
		fresh := filepath.Join(base, "cache")
		require.NoError(b, os.RemoveAll(fresh))
		require.NoError(b, os.MkdirAll(fresh, 0o755))
		for _, part := range []string{"store", "tools", "programs"} {
			cost(b, base, nil, "cp", "-a", filepath.Join(kept, part), fresh)
		}
		ours = ours.plus(cost(b, root, []string{"SLIPWAY_CACHE=" + fresh}, program, "build", "--force",
			"--lock", locked, "--out", filepath.Join(base, "out")))

		tree := filepath.Join(base, "tree")
		theirs = theirs.plus(cost(b, base, nil, "mmdebstrap", "--variant=apt", "--mode=root",
			"--include="+strings.Join(names, ","), "--dpkgopt=path-exclude=/usr/share/man/*",
			"--dpkgopt=path-exclude=/usr/share/doc/*",
			"--setup-hook=mkdir -p \"$1/var/cache/apt/archives\"; cp "+filepath.Join(base, "pool")+
				"/*.deb \"$1/var/cache/apt/archives/\"",
			"trixie", tree, "deb "+mirrors[archive.Debian]+" trixie main",
			"deb "+mirrors[archive.Security]+" trixie-security main"))
		theirs = theirs.plus(cost(b, base, nil, "mksquashfs", filepath.Join(tree, "usr"),
			filepath.Join(base, "usr.squashfs"), "-comp", "zstd", "-noappend", "-quiet", "-no-progress"))
		require.NoError(b, os.RemoveAll(tree))
	}
	n := float64(b.N)
	b.ReportMetric(ours.wall.Seconds()/n, "slipway-wall-s")
	b.ReportMetric(ours.cpu.Seconds()/n, "slipway-cpu-s")
	b.ReportMetric(theirs.wall.Seconds()/n, "peers-wall-s")
	b.ReportMetric(theirs.cpu.Seconds()/n, "peers-cpu-s")
	b.ReportMetric(ours.wall.Seconds()/theirs.wall.Seconds(), "wall-ratio")
	b.ReportMetric(ours.cpu.Seconds()/theirs.cpu.Seconds(), "cpu-ratio")
	b.ReportMetric(float64(ours.memory)/1e6, "slipway-peak-MB")
}

// usage is what programs took.
type usage struct {
	wall, cpu time.Duration
	memory    int64 // bytes, of the largest process
}

func (u usage) plus(o usage) usage {
	return usage{u.wall + o.wall, u.cpu + o.cpu, max(u.memory, o.memory)}
}

func cost(b *testing.B, dir string, env []string, args ...string) usage {
	b.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	require.NoError(b, err, "%s: %s", args[0], out)
	state := cmd.ProcessState
	return usage{time.Since(start), state.UserTime() + state.SystemTime(), peak(state)}
}

// poolOf gives the packages of a lock the names that apt gives its downloads.
func poolOf(b *testing.B, locked, dir, pool string) []string {
	b.Helper()
	f, err := os.Open(locked)
	require.NoError(b, err)
	defer f.Close()
	l, err := lock.Read(f, locked)
	require.NoError(b, err)
	s, err := store.Open(dir)
	require.NoError(b, err)
	require.NoError(b, os.MkdirAll(pool, 0o755))
	var names []string
	for _, p := range l.Packages {
		names = append(names, p.Name)
		data, err := os.ReadFile(s.Path(p.SHA256))
		require.NoError(b, err)
		name := fmt.Sprintf("%s_%s_%s.deb", p.Name, strings.ReplaceAll(p.Version, ":", "%3a"), p.Architecture)
		require.NoError(b, os.WriteFile(filepath.Join(pool, name), data, 0o644))
	}
	return names
}
