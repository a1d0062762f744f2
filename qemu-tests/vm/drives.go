package vm

import "fmt"

// Drive is one more disk, /dev/disk/by-id/virtio-SERIAL in the guest. The image
// is never written to.
type Drive struct {
	Path   string // raw image
	Serial string // at most 20 characters
	// Writable lets the guest write, until the machine is switched off: then
	// what it wrote is gone.
	Writable bool
	// First plugs the drive in where it comes before the machine's disk.
	First bool
}

// diskArgs gives the disk and the other drives. A guest's flush is not passed
// on to the host's disk: a power cut here ends QEMU, not the host, and what
// QEMU was given is then safe in the host's memory.
func (c *Config) diskArgs(f files) []string {
	args := c.driveArgs(true)
	if c.Disk != "" {
		device := "virtio-blk-pci,drive=disk,serial=slipway" + c.bootIndex()
		if c.SectorSize != 0 {
			device += fmt.Sprintf(",logical_block_size=%d,physical_block_size=%[1]d", c.SectorSize)
		}
		args = append(args, "-drive", c.diskDrive(f), "-device", device)
	}
	return append(args, c.driveArgs(false)...)
}

// driveArgs gives the other drives that come before the disk, or after it.
func (c *Config) driveArgs(first bool) []string {
	var args []string
	for i, d := range c.Drives {
		if d.First != first {
			continue
		}
		mode := "readonly=on"
		if d.Writable {
			mode = "snapshot=on"
		}
		args = append(args,
			"-drive", fmt.Sprintf("if=none,id=drive%d,format=raw,%s,file=%s", i, mode, escape(d.Path)),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=drive%d,serial=%s", i, d.Serial))
	}
	return args
}

// diskDrive is the value of -drive for the disk. A recorder sits on top of the
// overlay, where it sees the guest's flushes; what is below drops them.
func (c *Config) diskDrive(f files) string {
	if !c.LogWrites {
		return "if=none,id=disk,format=qcow2,cache=unsafe,discard=unmap,file=" + escape(f.overlay())
	}
	return "if=none,id=disk,driver=blklogwrites,cache=writeback,log-append=on" +
		",file.driver=qcow2,file.cache.no-flush=on,file.file.driver=file,file.file.cache.no-flush=on" +
		",file.file.filename=" + escape(f.overlay()) +
		",log.driver=file,log.cache.no-flush=on,log.filename=" + escape(f.writeLog())
}

// bootIndex puts the disk first, where a kernel given by itself is not.
func (c *Config) bootIndex() string {
	if c.Kernel != "" {
		return ""
	}
	return ",bootindex=0"
}
