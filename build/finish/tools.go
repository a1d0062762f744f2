package finish

import (
	"slices"
	"strings"

	"slipway/build/tree"
)

// catalogFile is where the message catalog's index lies in the image; journald
// and journalctl look for it at catalogLink.
const (
	catalogFile = "usr/share/slipway/catalog/database"
	catalogLink = "var/lib/systemd/catalog/database"
)

// steps lists the offline tools.
func (r *run) steps() []step {
	return []step{
		{
			// Enabling needs systemd's rules for [Install] sections, aliases
			// and templates: they are its own best judge.
			name: "unit links",
			only: unitDir + "*",
			inputs: []string{
				"usr/lib/systemd/system", "usr/lib/systemd/system-preset", "etc/systemd/system",
				"usr/lib/os-release",
			},
			program: "systemctl",
			args:    []string{"--root=" + here, "preset-all"},
			outputs: []string{"etc/systemd/system/**"},
		},
		{
			name:    "hwdb",
			only:    "usr/lib/udev/hwdb.d/*",
			inputs:  []string{"usr/lib/udev/hwdb.d", "etc/udev/hwdb.d"},
			program: "systemd-hwdb",
			args:    []string{"--usr", "--root=" + here, "update"},
			outputs: []string{"usr/lib/udev/hwdb.bin"},
		},
		{
			name:    "message catalog",
			only:    "usr/lib/systemd/catalog/*",
			inputs:  []string{"usr/lib/systemd/catalog"},
			program: "journalctl",
			args:    []string{"--root=" + here, "--update-catalog"},
			outputs: []string{catalogLink},
		},
		{
			name:    "module index",
			only:    "usr/lib/modules/*/kernel",
			inputs:  []string{"usr/lib/modules", "usr/lib/depmod.d", "etc/depmod.d"},
			program: "depmod",
			args:    []string{"-b", here + "/usr", "-C", here + "/usr/lib/depmod.d", r.result.KernelVersion},
			outputs: []string{"usr/lib/modules/*/modules.*"},
		},
		{
			name: "ld.so cache",
			only: "etc/ld.so.conf",
			inputs: []string{
				"etc/ld.so.conf", "etc/ld.so.conf.d",
				"usr/lib64", "usr/lib/x86_64-linux-gnu/*.so*", "usr/lib/*.so*",
			},
			program: "ldconfig",
			args:    []string{"-X", "-r", here},
			outputs: []string{"etc/ld.so.cache"},
		},
	}
}

// afterTools moves and drops what only the tools' programs know the place of.
func (r *run) afterTools() error {
	if n := r.Tree.Lookup(catalogLink); n != nil {
		r.Tree.Remove(catalogLink)
		r.put(catalogFile, n)
		r.tmpfiles = append(r.tmpfiles,
			"L+ /"+catalogLink+" - - - - /"+catalogFile)
	}
	// The index is all that is read: the sources are four times as large.
	if r.Tree.Lookup("usr/lib/udev/hwdb.bin") != nil {
		r.Tree.Remove("usr/lib/udev/hwdb.d")
	}
	if r.Tree.Lookup(catalogFile) != nil {
		r.Tree.Remove("usr/lib/systemd/catalog")
	}
	return r.dropDangling("etc/systemd/system/")
}

// dropDangling removes unit links below dir to units that the tree does not
// have: a package may want what another, absent one brings.
func (r *run) dropDangling(dir string) error {
	for _, p := range slices.Backward(r.Tree.Paths()) {
		n := r.Tree.Lookup(p)
		if n == nil || n.Type != tree.Symlink || !strings.HasPrefix(p, dir) ||
			n.Target == "/dev/null" {
			continue
		}
		if r.Tree.Lookup(resolve(p, n.Target)) == nil {
			r.Tree.Remove(p)
		}
	}
	return nil
}
