package vm_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"slipway/qemu-tests/vm"
)

// noTools is a tools tree in which nothing can run.
type noTools struct{}

func (noTools) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, program, args...)
}
func (noTools) Path(rel string) string { return "/tools/" + rel }

// lines puts each option of a command line on a line.
func lines(args []string) string {
	var b strings.Builder
	for i, arg := range args {
		switch {
		case i == 0:
		case strings.HasPrefix(arg, "-"):
			b.WriteByte('\n')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(arg)
	}
	return b.String()
}

// withoutAgent drops the credentials that bring the agent: they are long.
func withoutAgent(args []string) []string {
	var rest []string
	for i := 0; i < len(args); i++ {
		if args[i] == "-smbios" && strings.Contains(args[i+1], ":systemd.") {
			i++
			continue
		}
		rest = append(rest, args[i])
	}
	return rest
}

const common = `-name slipway
-no-user-config
-nodefaults
-display none
-L /tools/usr/share/qemu
-L /tools/usr/share/seabios
-L /tools/usr/lib/ipxe/qemu
-machine q35,sata=off
`

func TestArgs(t *testing.T) {
	tests := []struct {
		name        string
		config      vm.Config
		interactive bool
		want        string
	}{
		{
			name:   "BIOS",
			config: vm.Config{Disk: "/r/slipway.img"},
			want: common + `-m 1024
-smp 2
-device virtio-rng-pci
-device i6300esb
-accel tcg,thread=multi
-cpu max
-drive if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file=/d/disk.qcow2
-device virtio-blk-pci,drive=disk,serial=slipway,bootindex=0
-nic none
-chardev socket,id=console,path=/d/console.sock
-serial chardev:console
-chardev socket,id=qmp,path=/d/qmp.sock
-mon mode=control,chardev=qmp
-device virtio-serial-pci
-chardev socket,id=agent,path=/d/agent.sock
-device virtserialport,chardev=agent,name=slipway.test`,
		},
		{
			name: "UEFI with everything",
			config: vm.Config{
				Disk: "/r/slipway.img", Firmware: vm.UEFI, Accel: vm.KVM, Memory: 512, CPUs: 1, NoReboot: true,
				Drives:      []vm.Drive{{Path: "/x,y", Serial: "payload"}},
				Forward:     map[int]int{2222: 22, 2379: 2379},
				Credentials: map[string]string{"b": "two", "a": "one"},
				ExtraArgs:   []string{"-watchdog-action", "reset"},
			},
			interactive: true,
			want: common + `-m 512
-smp 1
-device virtio-rng-pci
-device i6300esb
-accel kvm
-cpu host
-no-reboot
-drive if=pflash,unit=0,format=raw,readonly=on,file=/tools/usr/share/OVMF/OVMF_CODE_4M.fd
-drive if=pflash,unit=1,format=qcow2,file=/d/vars.qcow2
-drive if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file=/d/disk.qcow2
-device virtio-blk-pci,drive=disk,serial=slipway,bootindex=0
-drive if=none,id=drive0,format=raw,readonly=on,file=/x,,y
-device virtio-blk-pci,drive=drive0,serial=payload
-nic user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:2379-:2379
-serial mon:stdio
-smbios type=11,value=io.systemd.credential.binary:a=b25l
-smbios type=11,value=io.systemd.credential.binary:b=dHdv
-watchdog-action reset`,
		},
		{
			name: "recorded writes, sectors of 4096 bytes, a disk to write to",
			config: vm.Config{
				Disk: "/r/slipway.img", LogWrites: true, SectorSize: 4096,
				Drives: []vm.Drive{{Path: "/x", Serial: "twin", Writable: true, First: true}},
			},
			interactive: true,
			want: common + `-m 1024
-smp 2
-device virtio-rng-pci
-device i6300esb
-accel tcg,thread=multi
-cpu max
-drive if=none,id=drive0,format=raw,snapshot=on,file=/x
-device virtio-blk-pci,drive=drive0,serial=twin
-drive if=none,id=disk,driver=blklogwrites,cache=writeback,log-append=on,` +
				`file.driver=qcow2,file.cache.no-flush=on,file.file.driver=file,file.file.cache.no-flush=on,` +
				`file.file.filename=/d/disk.qcow2,` +
				`log.driver=file,log.cache.no-flush=on,log.filename=/d/writes.log
-device virtio-blk-pci,drive=disk,serial=slipway,bootindex=0,logical_block_size=4096,physical_block_size=4096
-nic none
-serial mon:stdio`,
		},
		{
			name:        "kernel",
			config:      vm.Config{Kernel: "/k", Initrd: "/i", CommandLine: "console=ttyS0 panic=-1"},
			interactive: true,
			want: common + `-m 1024
-smp 2
-device virtio-rng-pci
-device i6300esb
-accel tcg,thread=multi
-cpu max
-nic none
-serial mon:stdio
-kernel /k
-append console=ttyS0 panic=-1
-initrd /i`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.config.Tools = noTools{}
			assert.Equal(t, test.want, lines(withoutAgent(test.config.Args("/d", test.interactive))))
		})
	}
}

func TestOverlayArgs(t *testing.T) {
	c := vm.Config{Disk: "/r/slipway.img", DiskSize: 1 << 34}
	assert.Equal(t, "create -q -f qcow2 -b /r/slipway.img -F raw /d/disk.qcow2 17179869184",
		strings.Join(c.OverlayArgs("/d"), " "))
}

func TestQuote(t *testing.T) {
	assert.Equal(t, `qemu -append 'a b' '' 'it'\''s' file=/x,,y`,
		vm.Quote([]string{"qemu", "-append", "a b", "", "it's", "file=/x,,y"}))
}

func TestAgentComesWithItsChannel(t *testing.T) {
	c := vm.Config{Tools: noTools{}, Credentials: map[string]string{"own": "x"}}
	channels, console := c.Args("/d", false), c.Args("/d", true)
	for _, name := range []string{"systemd.extra-unit.slipway-test.service=", "systemd.unit-dropin.sysinit.target="} {
		assert.Contains(t, strings.Join(channels, " "), name)
		assert.NotContains(t, strings.Join(console, " "), name)
	}
	for i, arg := range channels {
		if arg == "-smbios" {
			assert.Equal(t, 1, strings.Count(channels[i+1], ","), "a comma would end the value")
		}
	}
	const target = "systemd.extra-unit.default.target="
	assert.NotContains(t, strings.Join(channels, " "), target)
	c.AgentOnly = true
	assert.Contains(t, strings.Join(c.Args("/d", false), " "), target)
	assert.NotContains(t, strings.Join(c.Args("/d", true), " "), target, "there is nobody at that console but people")
}

// TestSecureArgs wants what a machine with Secure Boot has beyond others.
func TestSecureArgs(t *testing.T) {
	c := vm.Config{Tools: noTools{}, Firmware: vm.Secure, Disk: "/r/slipway.img"}
	args := lines(c.Args("/d", true))
	assert.Contains(t, args, "-machine q35,sata=off,smm=on\n")
	assert.Contains(t, args, "-global driver=cfi.pflash01,property=secure,value=on\n"+
		"-drive if=pflash,unit=0,format=raw,readonly=on,file=/tools/usr/share/OVMF/OVMF_CODE_4M.secboot.fd\n"+
		"-drive if=pflash,unit=1,format=qcow2,file=/d/vars.qcow2\n")
}
