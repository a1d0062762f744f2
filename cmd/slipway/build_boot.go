package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"slipway/build/authenticode"
	"slipway/build/initramfs"
	"slipway/build/tree"
	"slipway/build/uki"
	"slipway/cmd/internal/hint"
	"slipway/overlays"
	"slipway/signing"
)

// bootOptions is what the boot part of an image is made of.
type bootOptions struct {
	usr       *tree.Tree
	kernel    tree.Blob
	release   string // of the kernel: "6.12.107+deb13-cloud-amd64"
	config    *overlays.Config
	engine    string            // path of the compiled bootengine
	stub      string            // path of the EFI stub
	keys      map[string][]byte // PEM public keys that may vouch for slots, by key id
	time      int64
	osRelease []byte

	name, version string                  // of the image, to say what is signed
	secureBoot    []authenticode.Identity // who signs the UKI for firmware
}

// boot is the finished boot part.
type boot struct {
	uki tree.Blob
	id  string // what runs: see initramfs.BootID
}

// writeBoot makes the initramfs and writes the UKI, signed, to name.
func writeBoot(ctx context.Context, name string, o *bootOptions) (*boot, error) {
	ram, err := makeInitramfs(o)
	if err != nil {
		return nil, err
	}
	kernel, err := tree.ReadAll(o.kernel)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", o.release, err)
	}
	cmdline := strings.Join(o.config.Kernel.Cmdline, " ")
	id := initramfs.BootID(kernel, ram, cmdline)
	sealed, err := initramfs.Seal(ram, id, o.time)
	if err != nil {
		return nil, err
	}
	linux, err := signKernel(signing.About(ctx, fmt.Sprintf("kernel of %s %s", o.name, o.version)), kernel, o.secureBoot)
	if err != nil {
		return nil, err
	}
	stub, err := os.ReadFile(o.stub)
	if err != nil {
		return nil, hint.Add(fmt.Errorf("EFI stub: %w", err), "slipway cache prune --days 0 empties the cache")
	}
	var file bytes.Buffer
	err = uki.Write(&file, &uki.Options{
		Stub:        stub,
		OSRelease:   string(o.osRelease),
		CommandLine: cmdline,
		Uname:       o.release,
		Linux:       section(linux),
		Initrd:      section(sealed),
	})
	if err != nil {
		return nil, err
	}
	ctx = signing.About(ctx, fmt.Sprintf("UKI of %s %s", o.name, o.version))
	signed, err := signUKI(ctx, file.Bytes(), o.secureBoot)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(name, signed, 0o644); err != nil {
		return nil, err
	}
	return &boot{tree.Stored(name, int64(len(signed)), sha256.Sum256(signed)), id}, nil
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// makeInitramfs gives the compressed initramfs.
func makeInitramfs(o *bootOptions) ([]byte, error) {
	engine, err := os.ReadFile(o.engine)
	if err != nil {
		return nil, err
	}
	modules, err := bootModules(o.usr, o.release, o.config.Kernel.Modules)
	if err != nil {
		return nil, err
	}
	contents := &initramfs.Contents{
		Init:      engine,
		Keys:      o.keys,
		OSRelease: o.osRelease,
		Kernel:    o.release,
		Modules:   modules,
		Time:      o.time,
	}
	t, err := contents.Tree()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = initramfs.Write(&out, &initramfs.Options{Tree: t, Time: o.time})
	return out.Bytes(), err
}

// bootModules finds the wanted kernel modules and what they need in /usr.
func bootModules(usr *tree.Tree, release string, wanted []string) ([]initramfs.Module, error) {
	dir := path.Join("lib/modules", release)
	open := func(name string) (io.Reader, error) {
		n := usr.Lookup(path.Join(dir, name))
		if n == nil || n.Blob == nil {
			return nil, fmt.Errorf("kernel %s: no /usr/%s/%s", release, dir, name)
		}
		data, err := tree.ReadAll(n.Blob)
		return bytes.NewReader(data), err
	}
	var files initramfs.IndexFiles
	var err error
	if files.Dep, err = open("modules.dep"); err != nil {
		return nil, err
	}
	if files.Builtin, err = open("modules.builtin"); err != nil {
		return nil, err
	}
	if files.SoftDep, err = open("modules.softdep"); err != nil {
		return nil, err
	}
	index, err := initramfs.ReadModuleIndex(&files)
	if err != nil {
		return nil, err
	}
	paths, err := index.Order(wanted...)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", release, err)
	}
	modules := make([]initramfs.Module, len(paths))
	for i, p := range paths {
		n := usr.Lookup(path.Join(dir, p))
		if n == nil || n.Blob == nil {
			return nil, fmt.Errorf("kernel %s: module index names %s, which is not there", release, p)
		}
		modules[i] = initramfs.Module{Path: p, Blob: n.Blob}
	}
	return modules, nil
}

// writeAside writes a file so that it is whole or not there, even after a
// power cut.
func writeAside(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(0o644) // a temporary file is the user's alone
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
