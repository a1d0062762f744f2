package bootengine

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// module is a line of the list of modules.
type module struct {
	path    string
	devices []string // patterns of what it is for; none: for every machine
}

// name is the module's name as the kernel has it.
func (m module) name() string {
	base, _, _ := strings.Cut(path.Base(m.path), ".ko")
	return moduleName(base)
}

// moduleName is a module's name with "_" for "-", which are the same.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// moduleArguments takes the parameters of modules, "NAME.PARAMETER=VALUE", out
// of the kernel's command line, as modprobe does, by name and behind ours, for
// the last one counts.
func moduleArguments(cmdline string) map[string]string {
	arguments := map[string]string{
		// The watchdog has to outlive the kernel that armed it.
		"watchdog": "stop_on_reboot=0",
		// A panic says why the machine restarts, "panic=" does the rest.
		standIn: "soft_panic=1",
	}
	for word := range strings.FieldsSeq(cmdline) {
		key, _, _ := strings.Cut(word, "=")
		name, parameter, ok := strings.Cut(key, ".")
		if !ok || name == "" || parameter == "" {
			continue
		}
		name = moduleName(name)
		arguments[name] = strings.TrimSpace(arguments[name] + " " + word[len(key)-len(parameter):])
	}
	return arguments
}

// parseModules reads the list build/initramfs.Contents wrote.
func parseModules(text string) []module {
	var list []module
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) > 0 {
			list = append(list, module{fields[0], fields[1:]})
		}
	}
	return list
}

// drivers loads modules as their devices appear.
type drivers struct {
	waiting []module
	load    func(path string) error
	say     func(format string, args ...any)
}

// loadFor loads, in the order of the list, the modules that wait for one of the
// devices or for none. It says whether there were any: they may bring a bus
// with more devices.
func (d *drivers) loadFor(devices []string) bool {
	present := map[string]bool{} // patterns, for several modules share them
	wanted := func(m module) bool {
		for _, pattern := range m.devices {
			found, known := present[pattern]
			if !known {
				found = matchAny(pattern, devices)
				present[pattern] = found
			}
			if found {
				return true
			}
		}
		return len(m.devices) == 0
	}
	var rest []module
	for _, m := range d.waiting {
		if !wanted(m) {
			rest = append(rest, m)
			continue
		}
		d.loadOne(m)
	}
	loaded := len(rest) < len(d.waiting)
	d.waiting = rest
	return loaded
}

// loadAll loads what is left, for machines whose devices do not tell.
func (d *drivers) loadAll() {
	for _, m := range d.waiting {
		d.loadOne(m)
	}
	d.waiting = nil
}

// loadOne loads a module. One that is loaded already, or whose hardware is not
// there, is nothing to talk about; any other failure is said and the boot goes
// on: what is missing shows soon enough.
func (d *drivers) loadOne(m module) {
	err := d.load(m.path)
	if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
		d.say("kernel module %s: %v", m.path, err)
	}
}

// matchAny reports whether a device has the alias pattern of a module.
func matchAny(pattern string, devices []string) bool {
	literal := pattern
	if i := strings.IndexAny(pattern, "*?["); i >= 0 {
		literal = pattern[:i]
	}
	for _, device := range devices {
		if !strings.HasPrefix(device, literal) {
			continue
		}
		if ok, err := path.Match(pattern, device); ok && err == nil {
			return true
		}
	}
	return false
}

// listDevices returns the aliases of the devices on the buses that disks and
// watchdogs hang on. sys is the root of /sys.
func listDevices(sys fs.FS) []string {
	var list []string
	for _, bus := range []string{"acpi", "pci", "platform", "virtio", "vmbus", "xen"} {
		dir := path.Join("bus", bus, "devices")
		entries, err := fs.ReadDir(sys, dir)
		if err != nil {
			continue // the machine has no such bus
		}
		for _, e := range entries {
			if text, err := fs.ReadFile(sys, path.Join(dir, e.Name(), "modalias")); err == nil {
				list = append(list, strings.TrimSpace(string(text)))
			}
		}
	}
	return list
}

// settle loads drivers until no new one is wanted.
func (d *drivers) settle() {
	for d.loadFor(listDevices(os.DirFS("/sys"))) && len(d.waiting) > 0 {
		continue
	}
}

// loadModule gives a module to the kernel, with its parameters.
func (c *config) loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), c.moduleArguments[module{path: path}.name()], 0)
}
