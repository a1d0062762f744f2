package main_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/deb/debtest"
)

func tool() debtest.Package {
	return debtest.Package{
		Name: "tool", Version: "1.2-1",
		Fields:  map[string]string{"Depends": "libtool1 (>= 2)"},
		Control: map[string]string{"postinst": "#!/bin/sh\necho hello\n"},
		Files:   []debtest.File{{Path: "usr/bin/tool", Content: "bytes", Mode: 0o755}},
	}
}

func library() debtest.Package {
	return debtest.Package{
		Name: "libtool1", Version: "2.0-1",
		Files: []debtest.File{{Path: "usr/lib/libtool.so.1", Content: "elf"}},
	}
}

// Every mistake of a user has a status, one line and mostly a hint.
func TestUsage(t *testing.T) {
	newProject(t)
	for _, c := range []struct {
		args string
		want string
	}{
		{"bild", "slipway: command \"bild\": unknown\nhint: slipway help\n"},
		{"build --chanel alpha", "slipway: flag provided but not defined: -chanel\nhint: slipway help\n"},
		{"build extra", "slipway: build: argument \"extra\": not expected\nhint: slipway build --help\n"},
		{"inspect", "slipway: inspect: IMAGE|SLOT|RELEASE [PATH] missing\nhint: slipway inspect --help\n"},
		{"test --accel warp", "slipway: test: --accel \"warp\": unknown\nhint: --accel auto, tcg or kvm\n"},
	} {
		t.Run(c.args, func(t *testing.T) {
			status, stdout, stderr := run(t, strings.Fields(c.args)...)
			assert.Equal(t, 2, status)
			assert.Empty(t, stdout)
			assert.Equal(t, c.want, stderr)
		})
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	status, stdout, _ := run(t)
	assert.Equal(t, 0, status)
	for _, name := range []string{"build", "lock", "run", "test", "inspect", "cache", "doctor"} {
		assert.Contains(t, stdout, name)
	}
}

// A lock is the same text whenever it is made, and a fresh one has nothing to
// report.
func TestLockIsStable(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	status, stdout, stderr := run(t, "lock", "--file", "a.lock")
	require.Equal(t, 0, status, stderr)
	assert.Equal(t, "a.lock\n", stdout)
	status, _, stderr = run(t, "lock", "--file", "b.lock")
	require.Equal(t, 0, status, stderr)
	a, err := os.ReadFile("a.lock")
	require.NoError(t, err)
	b, err := os.ReadFile("b.lock")
	require.NoError(t, err)
	assert.Equal(t, string(a), string(b))
	assert.Contains(t, string(a), "why: \"tool: Depends libtool1 (>= 2)\"")
	assert.Contains(t, string(a), "postinst:")

	// Flags may follow arguments and come in any order.
	status, stdout, stderr = run(t, "lock", "--file", "a.lock", "--check")
	assert.Equal(t, 0, status, stderr)
	assert.Empty(t, stdout)
}

func TestLockCheckNamesChanges(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	status, _, stderr := run(t, "lock")
	require.Equal(t, 0, status, stderr)
	newer := library()
	newer.Version = "2.1-1"
	p.publish(tool(), newer)
	status, stdout, stderr := run(t, "lock", "--check")
	assert.Equal(t, 1, status)
	assert.Contains(t, stdout, "libtool1")
	assert.Contains(t, stdout, "2.0-1")
	assert.Contains(t, stdout, "2.1-1")
	assert.Contains(t, stderr, "slipway: packages.lock: 1 packages differ from the archive\n"+
		"hint: slipway lock --file packages.lock writes the new state\n")
}

// What the archive or the overlay can get wrong ends in one line that says
// what, where and why, and leaves no lock behind.
func TestLockRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		break_ func(p *project)
		want   []string
	}{
		"unknown package": {
			func(p *project) { p.overlay("packages: [tol]\n") },
			[]string{"overlay base", `"tol"`, "hint:", "tool"},
		},
		"unsatisfiable version": {
			func(p *project) {
				old := library()
				old.Version = "1.0-1"
				p.publish(tool(), old)
			},
			[]string{"overlay base", "tool", "libtool1 (>= 2)", "1.0-1"},
		},
		"unknown key": {
			func(p *project) { p.overlay("packages: [tool]\nremoves: [a]\n") },
			[]string{"base/overlay.yaml", "2", "removes"},
		},
		"broken YAML": {
			func(p *project) { p.overlay("packages: [tool\n") },
			[]string{"base/overlay.yaml"},
		},
		"mirror gone": {
			func(p *project) { require.NoError(p.t, os.RemoveAll(p.mirror)) },
			[]string{"trixie", "hint:"},
		},
		"tampered InRelease": {
			func(p *project) {
				text := strings.Replace(string(p.read("dists/trixie/InRelease")), "Suite: stable", "Suite: stablr", 1)
				p.put("dists/trixie/InRelease", []byte(text))
			},
			[]string{"trixie", "signature does not match the content"},
		},
		"signed by another key": {
			func(p *project) {
				p.key = newKey(p.t)
				p.publish(tool(), library())
			},
			[]string{"trixie", "signed by no known key"},
		},
		"expired InRelease": {
			func(p *project) {
				p.expiry = time.Now().Add(-time.Hour)
				p.publish(tool(), library())
			},
			[]string{"trixie", "expired", "hint:", "--allow-expired"},
		},
		"package of other content": {
			func(p *project) {
				data := p.read("pool/tool.deb")
				data[len(data)-3] ^= 1
				p.put("pool/tool.deb", data)
			},
			[]string{"tool", "sha256"},
		},
		"truncated package": {
			func(p *project) { p.put("pool/tool.deb", p.read("pool/tool.deb")[:100]) },
			[]string{"tool", "100"},
		},
		"package gone": {
			func(p *project) { require.NoError(p.t, os.Remove(filepath.Join(p.mirror, "pool/tool.deb"))) },
			[]string{"tool", "hint:"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t)
			p.publish(tool(), library())
			c.break_(p)
			status, stdout, stderr := run(t, "lock")
			assert.Equal(t, 1, status)
			assert.Empty(t, stdout)
			lines := strings.Split(strings.TrimSpace(stderr), "\n")
			last := lines[len(lines)-1]
			if strings.HasPrefix(last, "hint: ") && len(lines) > 1 {
				last = lines[len(lines)-2]
			}
			assert.True(t, strings.HasPrefix(last, "slipway: "), stderr)
			for _, want := range c.want {
				assert.Contains(t, strings.ToLower(stderr), strings.ToLower(want))
			}
			assert.NoFileExists(t, "packages.lock")
			leftovers, err := filepath.Glob(".new-*")
			require.NoError(t, err)
			assert.Empty(t, leftovers)

			// The cache is not poisoned: with a good mirror all is well again.
			p.expiry = time.Time{}
			p.overlay("packages: [tool]\n")
			if name != "signed by another key" {
				p.publish(tool(), library())
				status, _, stderr = run(t, "lock")
				assert.Equal(t, 0, status, stderr)
			}
		})
	}
}

func TestExpiredArchiveCanBeAccepted(t *testing.T) {
	p := newProject(t)
	p.expiry = time.Now().Add(-time.Hour)
	p.publish(tool(), library())
	status, _, stderr := run(t, "lock", "--allow-expired")
	assert.Equal(t, 0, status, stderr)
}

func TestInterruptLeavesNothing(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	status, stdout, stderr := runContext(t, ctx, "lock")
	assert.Equal(t, 1, status)
	assert.Empty(t, stdout)
	assert.Contains(t, stderr, "slipway: interrupted; nothing half-written is left\n")
	assert.NotContains(t, stderr, "unpack ")
	assert.NoFileExists(t, "packages.lock")
}

func TestUnknownChannel(t *testing.T) {
	newProject(t)
	status, _, stderr := run(t, "build", "--channel", "gamma")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, `"gamma"`)
	assert.Contains(t, stderr, "alpha")
}

func TestBuildRefusesPackageOutsideTheLock(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	status, _, stderr := run(t, "lock")
	require.Equal(t, 0, status, stderr)
	p.overlay("packages: [tool, other]\n")
	status, _, stderr = run(t, "build", "--lock", "packages.lock")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, `packages.lock: package "other" of overlay base is not in the lock`)
	assert.Contains(t, stderr, "hint: slipway lock")
}

func TestVersionIsChecked(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	status, _, stderr := run(t, "build", "--version", "1.2")
	assert.Equal(t, 2, status)
	assert.Contains(t, stderr, `--version "1.2": not MAJOR.MINOR.PATCH`)
}

func TestInspectRefusesOtherFiles(t *testing.T) {
	p := newProject(t)
	p.write("noise.img", strings.Repeat("noise", 20000))
	status, _, stderr := run(t, "inspect", "noise.img")
	assert.Equal(t, 1, status)
	assert.Contains(t, stderr, "slipway: noise.img: neither a disk image nor a slot image")
	assert.Contains(t, stderr, "hint: slipway inspect takes")
}

func TestCacheInfoAndPrune(t *testing.T) {
	p := newProject(t)
	p.publish(tool(), library())
	status, _, stderr := run(t, "lock")
	require.Equal(t, 0, status, stderr)
	status, stdout, stderr := run(t, "cache", "info")
	require.Equal(t, 0, status, stderr)
	assert.Contains(t, stdout, os.Getenv("SLIPWAY_CACHE"))
	assert.Contains(t, stdout, "unpacked")
	status, _, stderr = run(t, "cache", "prune", "--days", "0")
	require.Equal(t, 0, status, stderr)
	left, err := filepath.Glob(filepath.Join(os.Getenv("SLIPWAY_CACHE"), "unpacked", "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
	status, _, stderr = run(t, "lock")
	assert.Equal(t, 0, status, stderr)
}
