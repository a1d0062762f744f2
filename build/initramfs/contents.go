package initramfs

import (
	"fmt"
	"path"
	"strings"

	"slipway/build/tree"
)

// The files the boot engine finds in its initramfs.
const (
	InitPath         = "init"                      // the boot engine
	KeyDir           = "etc/slipway/keys"          // *.pem, public keys that may vouch for slots
	BootIDPath       = "etc/slipway/boot-id"       // see BootID; added by Seal
	OSReleasePath    = "etc/slipway/os-release"    // of the version it was built with
	ModulesOrderPath = "etc/slipway/modules.order" // see Contents.Tree
	cpioOrigin       = "initramfs"
)

// Contents is what goes into the initramfs of an image.
type Contents struct {
	Init      []byte            // static program
	Keys      map[string][]byte // PEM public keys by key id
	OSRelease []byte
	Kernel    string   // release, such as "6.12.107+deb13-cloud-amd64"
	Modules   []Module // in the order to load them: see ModuleIndex.Order
	Time      int64    // modification time, seconds since 1970
}

// Module is one uncompressed kernel module.
type Module struct {
	Path string // below /lib/modules/RELEASE: "kernel/fs/erofs/erofs.ko"
	Blob tree.Blob
}

// Tree lays the contents out. ModulesOrderPath gets a line for each module, in
// the order to load them: its path and, if it is of use to some machines only,
// the device aliases (with wildcards, as in modules.alias) one of which must be
// there, parted by spaces. A module others need is there for their devices.
func (c *Contents) Tree() (*tree.Tree, error) {
	if len(c.Keys) == 0 {
		return nil, fmt.Errorf("initramfs: no keys: it could start no slot")
	}
	t := tree.New()
	set := func(p string, n *tree.Node) error {
		n.Origin, n.MTime = cpioOrigin, c.Time
		return t.Set(p, n)
	}
	file := func(p string, mode uint32, data []byte) error {
		return set(p, &tree.Node{Type: tree.File, Mode: mode, Blob: tree.Bytes(data)})
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "sysroot", KeyDir} {
		if err := set(dir, &tree.Node{Type: tree.Dir, Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	infos := make([]*modinfo, len(c.Modules))
	for i, m := range c.Modules {
		var err error
		if infos[i], err = readModinfo(m); err != nil {
			return nil, fmt.Errorf("initramfs: %w", err)
		}
	}
	devices := conditions(infos)
	var order strings.Builder
	for i, m := range c.Modules {
		p := path.Join("lib/modules", c.Kernel, m.Path)
		if strings.Contains(m.Path, "..") || strings.ContainsAny(m.Path, "\n") {
			return nil, fmt.Errorf("initramfs: module path %q", m.Path)
		}
		if err := set(p, &tree.Node{Type: tree.File, Mode: 0o644, Blob: m.Blob}); err != nil {
			return nil, err
		}
		order.WriteString(strings.Join(append([]string{"/" + p}, devices[i]...), " ") + "\n")
	}
	for id, text := range c.Keys {
		if err := file(path.Join(KeyDir, id+".pem"), 0o644, text); err != nil {
			return nil, err
		}
	}
	// The kernel opens /dev/console for PID 1 before anything is mounted.
	if err := set("dev/console", &tree.Node{Type: tree.Char, Mode: 0o600, Major: 5, Minor: 1}); err != nil {
		return nil, err
	}
	if err := file(InitPath, 0o755, c.Init); err != nil {
		return nil, err
	}
	if err := file(OSReleasePath, 0o644, c.OSRelease); err != nil {
		return nil, err
	}
	return t, file(ModulesOrderPath, 0o644, []byte(order.String()))
}
