// Package finish turns the files of all packages and what the overlays say
// into the /usr tree of a slot: it does at build time, and as values, what
// maintainer scripts and a first boot would do on an ordinary Debian machine.
//
// What comes in is one tree with the paths as packages have them ("usr/...",
// "etc/...", "var/..."). What goes out is a tree whose root is /usr and that
// holds everything: /etc as share/slipway/etc (the lower layer of an overlay
// mount at run time), /var and the rest as tmpfiles.d lines that make them.
//
// It resolves and unpacks nothing and writes no images. Programs are run for
// five indexes only (unit links, hwdb, message catalog, module index, ld.so
// cache), all through steps.go.
package finish

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"strings"
	"time"

	"slipway/build/tree"
	"slipway/overlays"
)

// EtcDir is where the tree of /usr holds what is to appear below /etc.
const EtcDir = "share/slipway/etc"

// Runner runs programs of the tools tree. Command's program is a path in it
// without a leading slash ("usr/bin/systemctl"); the command must find its
// shared libraries by itself.
type Runner interface {
	Command(ctx context.Context, program string, args ...string) *exec.Cmd
}

// Options says what to make a /usr of.
type Options struct {
	// Tree holds the files of all packages, merged. Run changes it.
	Tree   *tree.Tree
	Config *overlays.Config
	// Time becomes the modification time of every file.
	Time time.Time
	// Version is the OS version, MAJOR.MINOR.PATCH. BuildID defaults to it.
	Version string
	BuildID string
	// Development marks the image as one that is signed with a development
	// key.
	Development bool
	// Runner runs the offline tools; ToolsDigest tells one tools tree from
	// another in the cache.
	Runner      Runner
	ToolsDigest string
	// CacheDir is the cache directory whose steps/ keeps results; "" for none.
	CacheDir string
	// TempDir is where steps lay out their inputs; "" for the system's.
	TempDir string
	// Workers is how many tools may run at once, at least 1.
	Workers int
	// Log is told about each tool that runs; may be nil.
	Log func(line string)
}

// Result is a finished /usr and what else the packages had for a slot.
type Result struct {
	// Usr has /usr as its root: "lib/systemd/systemd".
	Usr *tree.Tree
	// Kernel is the kernel image out of /boot, KernelVersion its release
	// ("6.12.1-cloud-amd64", also the name in lib/modules).
	Kernel        tree.Blob
	KernelVersion string
	// OSRelease is the content of lib/os-release.
	OSRelease []byte
	// Problems are programs, scripts and kernel modules of the image that
	// need what it lacks, one line each: worth a warning.
	Problems []string
}

// run is the state of one Run.
type run struct {
	*Options
	result   Result
	accounts *accounts
	copies   map[string]*tree.Node // overlay path -> package file
	removed  map[string]overlays.Glob
	tmpfiles []string // lines for slipway.conf
}

// Run makes the /usr tree. The steps depend on their order: removal comes
// before anything is added, accounts before owners, and every file that a
// tool reads before the tools.
func Run(ctx context.Context, o *Options) (*Result, error) {
	r := &run{Options: o, copies: map[string]*tree.Node{}, removed: map[string]overlays.Glob{}}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"kernel", r.takeKernel},
		{"copies", r.resolveCopies},
		{"remove", r.remove},
		{"overlay files", r.placeFiles},
		{"accounts", r.writeAccounts},
		{"owners", r.setOwners},
		{"alternatives", r.linkAlternatives},
		{"os-release", r.writeOSRelease},
		{"pam", r.writePAM},
		{"ca certificates", r.writeCertificates},
		{"units", r.writePresets},
		{"tools", func() error { return r.runTools(ctx) }},
		{"check", r.check},
		{"tmpfiles", r.writeTmpfiles},
		{"etc", r.moveEtc},
	} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := step.do(); err != nil {
			return nil, fmt.Errorf("finish %s: %w", step.name, err)
		}
	}
	for _, n := range o.Tree.All() {
		n.MTime = o.Time.Unix()
	}
	r.result.Usr = o.Tree.Sub("usr")
	return &r.result, nil
}

// takeKernel keeps the one kernel image of /boot, which the slot has inside
// its boot.efi.
func (r *run) takeKernel() error {
	for p, n := range r.Tree.All() {
		version, ok := strings.CutPrefix(p, "boot/vmlinuz-")
		if !ok || n.Type != tree.File {
			continue
		}
		if r.result.Kernel != nil {
			return fmt.Errorf("kernels %q and %q: an image has one",
				r.result.KernelVersion, version)
		}
		r.result.Kernel, r.result.KernelVersion = n.Blob, version
	}
	if r.result.Kernel == nil && r.Config.Kernel.Package != "" {
		return fmt.Errorf("package %q and what it depends on: no boot/vmlinuz-*",
			r.Config.Kernel.Package)
	}
	return nil
}

// moveEtc makes /etc a part of /usr. A machine id or host key in it would be
// shared by all machines.
func (r *run) moveEtc() error {
	var paths []string
	for p := range r.Tree.All() {
		if p == "etc" || strings.HasPrefix(p, "etc/") {
			paths = append(paths, p)
		}
	}
	r.put("usr/"+EtcDir, &tree.Node{Type: tree.Dir, Mode: 0o755})
	var problems []error
	for _, p := range paths {
		name := path.Base(p)
		if p == "etc/machine-id" ||
			strings.HasPrefix(name, "ssh_host_") && strings.HasPrefix(p, "etc/ssh/") {
			problems = append(problems, fmt.Errorf("/%s of %s: every machine makes its own",
				p, r.Tree.Lookup(p).Origin))
			continue
		}
		if err := r.Tree.Set("usr/"+EtcDir+strings.TrimPrefix(p, "etc"), r.Tree.Lookup(p)); err != nil {
			problems = append(problems, err)
		}
	}
	r.Tree.Remove("etc")
	return errors.Join(problems...)
}

// put sets a generated node at a path whose parents are known to be
// directories.
func (r *run) put(p string, n *tree.Node) {
	n.Origin = "finish"
	if err := r.Tree.Set(p, n); err != nil {
		panic("internal error: " + err.Error())
	}
}

// text sets a generated file, root's, mode 0644. What is in the way there is
// an error unless it is a file or link, which is replaced.
func (r *run) text(p, content string) error {
	return r.Tree.Set(p, &tree.Node{
		Type: tree.File, Mode: 0o644, Blob: tree.Bytes([]byte(content)), Origin: "finish"})
}

// read gives the content of a regular file of the tree; ok is false if there
// is none.
func (r *run) read(p string) (content string, ok bool, err error) {
	n := r.Tree.Lookup(p)
	if n == nil || n.Type != tree.File {
		return "", false, nil
	}
	data, err := tree.ReadAll(n.Blob)
	if err != nil {
		return "", false, fmt.Errorf("read /%s: %w", p, err)
	}
	return string(data), true, nil
}
