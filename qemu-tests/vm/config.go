package vm

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// Tools runs foreign programs: a tools tree with QEMU, OVMF and SeaBIOS.
type Tools interface {
	// Command prepares a program of the tree.
	Command(ctx context.Context, program string, args ...string) *exec.Cmd
	// Path is the place on the host of a file of the tree.
	Path(rel string) string
}

// Firmware is what starts the machine.
type Firmware string

// The kinds of firmware.
const (
	BIOS   Firmware = "bios"   // SeaBIOS
	UEFI   Firmware = "uefi"   // OVMF, without Secure Boot
	Secure Firmware = "secure" // OVMF with Secure Boot: see Config.Vars
)

// Accel is how QEMU runs the guest's instructions.
type Accel string

// Ways to run. Auto is for Choose only.
const (
	TCG  Accel = "tcg"  // translated: slow, works everywhere
	KVM  Accel = "kvm"  // by the host's processor
	Auto Accel = "auto" // KVM if it is proven to work
)

// Config describes a machine. Tools is needed, and Disk or Kernel.
type Config struct {
	Tools    Tools
	Disk     string   // raw image; it is not written to, an overlay is
	DiskSize int64    // bytes the machine sees, 0 for the image's size; must not be less
	Firmware Firmware // BIOS unless set
	Accel    Accel    // TCG unless set
	Memory   int      // MiB, 1024 unless set
	CPUs     int      // 2 unless set; 1 with Secure firmware under emulation
	Drives   []Drive  // more disks

	// Vars is a raw image of UEFI variables that the machine starts with; it
	// is not written to. Without it the variables are OVMF's: no keys are
	// enrolled, and Secure firmware is in setup mode.
	Vars string

	// Kernel, Initrd and CommandLine start a kernel without the disk.
	Kernel, Initrd, CommandLine string

	// Credentials are given to the guest's systemd (systemd.io/CREDENTIALS).
	Credentials map[string]string
	// AgentOnly has the guest's systemd start what runs commands, and nothing
	// else that is not asked for: sysinit.target to begin with is not reached.
	AgentOnly bool
	// Forward maps TCP ports of the host's loopback to ports of the guest,
	// which has no way out. Without it there is no network card.
	Forward map[int]int
	// Reach maps addresses in the guest's network, such as "10.0.2.100:80", to
	// TCP addresses of the host's loopback: all that the guest can reach.
	Reach map[string]string
	// Connector is the command that Reach is served by: it connects its
	// standard input and output with the address that is appended to it. See
	// [Connect].
	Connector []string
	// Switch gives the guest a network card at a switch, with others; Address
	// is the card's, such as "52:54:00:00:00:01".
	Switch  *Switch
	Address string
	// Online gives the guest a network card with a way out, through the host.
	// Tests leave it off.
	Online bool
	// NoReboot ends QEMU where the guest would restart.
	NoReboot bool
	// SectorSize is the logical sector size of the disk in bytes, 512 unless set.
	SectorSize int
	// LogWrites records what the guest writes to the disk and when it flushes,
	// over all the machine's lives: see VM.WriteLog.
	LogWrites bool
	// ExtraArgs end QEMU's command line.
	ExtraArgs []string
	// Log is called with every line of the console, if set.
	Log func(line string)
}

// files are the places of one machine's files.
type files struct {
	dir string
}

func (f files) path(name string) string { return f.dir + "/" + name }
func (f files) overlay() string         { return f.path("disk.qcow2") }
func (f files) vars() string            { return f.path("vars.qcow2") }
func (f files) log() string             { return f.path("console.log") }
func (f files) writeLog() string        { return f.path("writes.log") }

// socket is where QEMU finds one of our channels.
func (f files) socket(channel string) string { return f.path(channel + ".sock") }

// The channels between QEMU and this package, each a unix socket.
const (
	channelConsole = "console"
	channelControl = "qmp"
	channelAgent   = "agent"

	maxSocketPath = 107 // of sun_path, unix(7)
)

func (c *Config) withDefaults() *Config {
	d := *c
	if d.Firmware == "" {
		d.Firmware = BIOS
	}
	if d.Accel == "" {
		d.Accel = TCG
	}
	if d.Memory == 0 {
		d.Memory = 1024
	}
	if d.CPUs == 0 && d.Firmware == Secure && d.Accel != KVM {
		// The firmware's system management mode stops all processors at once,
		// at which one of two emulated ones is left behind now and then.
		d.CPUs = 1
	}
	if d.CPUs == 0 {
		d.CPUs = 2
	}
	return &d
}

// overlayArgs is the command line of qemu-img that makes the overlay.
func (c *Config) overlayArgs(f files) []string {
	args := []string{"create", "-q", "-f", "qcow2", "-b", c.Disk, "-F", "raw", f.overlay()}
	if c.DiskSize != 0 {
		args = append(args, fmt.Sprint(c.DiskSize))
	}
	return args
}

// varsArgs is the command line of qemu-img that makes the machine's own UEFI
// variables; qcow2 because machine snapshots need that of every writable disk.
func (c *Config) varsArgs(f files) []string {
	vars := c.Vars
	if vars == "" {
		vars = c.Tools.Path("usr/share/OVMF/OVMF_VARS_4M.fd")
	}
	return []string{"convert", "-q", "-f", "raw", "-O", "qcow2", vars, f.vars()}
}

// firmwareArgs gives UEFI firmware its code and its variables. With Secure Boot
// it guards the variables in system management mode.
func (c *Config) firmwareArgs(f files) []string {
	code := "OVMF_CODE_4M.fd"
	var args []string
	switch c.Firmware {
	case BIOS:
		return nil
	case Secure:
		code = "OVMF_CODE_4M.secboot.fd"
		args = []string{"-global", "driver=cfi.pflash01,property=secure,value=on"}
	}
	return append(args,
		"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+escape(c.Tools.Path("usr/share/OVMF/"+code)),
		"-drive", "if=pflash,unit=1,format=qcow2,file="+escape(f.vars()))
}

// machine is the kind of machine. Its disks are virtual, and six ports of SATA
// without any take a second of every boot.
func (c *Config) machine() string {
	if c.Firmware == Secure {
		return "q35,sata=off,smm=on"
	}
	return "q35,sata=off"
}

// args is QEMU's command line. An interactive one has the console on its
// standard input and output, where the other has our channels.
func (c *Config) args(f files, interactive bool) []string {
	args := []string{
		"-name", "slipway", "-no-user-config", "-nodefaults", "-display", "none",
		"-L", c.Tools.Path("usr/share/qemu"), "-L", c.Tools.Path("usr/share/seabios"),
		"-L", c.Tools.Path("usr/lib/ipxe/qemu"),
		"-machine", c.machine(), "-m", fmt.Sprint(c.Memory), "-smp", fmt.Sprint(c.CPUs),
		"-device", "virtio-rng-pci",
		// A watchdog that resets the machine, as servers have one. It does
		// nothing until the guest starts it.
		"-device", "i6300esb",
	}
	switch c.Accel {
	case KVM:
		args = append(args, "-accel", "kvm", "-cpu", "host")
	default:
		args = append(args, "-accel", "tcg,thread=multi", "-cpu", "max")
	}
	if c.NoReboot {
		args = append(args, "-no-reboot")
	}
	args = append(args, c.firmwareArgs(f)...)
	args = append(args, c.diskArgs(f)...)
	args = append(args, c.networkArgs()...)
	args = append(args, c.switchArgs()...)
	args = append(args, c.channelArgs(f, interactive)...)
	args = append(args, c.credentialArgs(interactive)...)
	if c.Kernel != "" {
		args = append(args, "-kernel", c.Kernel, "-append", c.CommandLine)
		if c.Initrd != "" {
			args = append(args, "-initrd", c.Initrd)
		}
	}
	return append(args, c.ExtraArgs...)
}

// channelArgs has QEMU connect to the sockets we listen on, so that nobody
// has to wait for a socket to appear.
func (c *Config) channelArgs(f files, interactive bool) []string {
	if interactive {
		return []string{"-serial", "mon:stdio"}
	}
	socket := func(channel string) string {
		return "socket,id=" + channel + ",path=" + escape(f.socket(channel))
	}
	return []string{
		"-chardev", socket(channelConsole), "-serial", "chardev:" + channelConsole,
		"-chardev", socket(channelControl), "-mon", "mode=control,chardev=" + channelControl,
		"-device", "virtio-serial-pci", "-chardev", socket(channelAgent),
		"-device", "virtserialport,chardev=" + channelAgent + ",name=" + agentPort,
	}
}

// credentialArgs gives the guest its credentials, and where there is a channel
// for it the agent.
func (c *Config) credentialArgs(interactive bool) []string {
	credentials := map[string]string{}
	if !interactive {
		credentials = agentCredentials(c.AgentOnly)
	}
	maps.Copy(credentials, c.Credentials)
	var args []string
	for _, name := range slices.Sorted(maps.Keys(credentials)) {
		args = append(args, "-smbios", "type=11,value=io.systemd.credential.binary:"+
			name+"="+base64.StdEncoding.EncodeToString([]byte(credentials[name])))
	}
	return args
}

// escape makes a value for QEMU's comma-separated options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

// plain are the characters that mean themselves to a shell.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=:,+@%"

// quote makes a command line that a shell reads back as the same words.
func quote(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if quoted[i] = w; w == "" || strings.Trim(w, plain) != "" {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
