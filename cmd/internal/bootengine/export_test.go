package bootengine

import (
	"time"

	"slipway/partitions"
	"slipway/signing/footer"
)

// What the tests see of the package's inside.
type (
	Config      = config
	Slot        = slot
	Failure     = failure
	Disk        = disk
	BlockDevice = blockDevice
	Target      = target
	Module      = module
)

const (
	BlankCheck = blankCheck
	Unfinished = unfinished
)

var (
	ReadConfig        = readConfig
	Choose            = choose
	ListDevices       = listDevices
	MatchAny          = matchAny
	ListBlock         = listBlock
	PartitionName     = partitionName
	DiskNote          = diskNote
	PickDisk          = pickDisk
	PlanGrow          = planGrow
	RootPartition     = rootPartition
	Doubt             = doubt
	HowToVerify       = howToVerify
	Verify            = verify
	VerityTarget      = verityTarget
	DMTable           = dmTable
	DeviceMinor       = deviceMinor
	ParseLoaderDevice = parseLoaderDevice
	MakeSkeleton      = makeSkeleton
	EnsureMachineID   = ensureMachineID
	KexecCommandLine  = kexecCommandLine
	MarkUnfinished    = markUnfinished
	CopyFileSystem    = func(dev device, img sparseFile) error { return copyFileSystem(dev, img) }
)

// Lines is what is printed when no slot can be started.
func Lines(err error) []string { return err.(*noSlotError).lines() }

// PlanRoot tells the plan as a word and what was read of the file system.
func PlanRoot(head []byte) (plan string, blockSize int64, blocks uint64) {
	p, fs := planRoot(head)
	if fs != nil {
		blockSize, blocks = fs.blockSize, fs.blocks
	}
	return [...]string{"foreign", "make", "check", "ready"}[p], blockSize, blocks
}

// PlanFSGrow calls planFSGrow for a file system of that shape.
func PlanFSGrow(blockSize int64, blocks uint64, size int64) (uint64, bool) {
	return planFSGrow(&ext4{blockSize: blockSize, blocks: blocks}, size)
}

// Parts takes a config apart.
func (c *config) Parts() (keys []string, bootID string, modules []Module, slot int, esp, verify string, problems []string) {
	for _, k := range c.keys {
		keys = append(keys, k.ID)
	}
	return keys, c.bootID, c.modules, c.slot, c.esp, c.verify, c.problems
}

// NewSlot is an opened slot.
func NewSlot(p partitions.Partition) *Slot { return &slot{part: p} }

// ReportText is the report of a boot.
func ReportText(s *Slot, ft *footer.Footer, device, verified, disk string, failures []Failure) (string, error) {
	s.footer, s.device, s.verified = ft, device, verified
	text, err := (&report{Slot: s, Disk: NewDisk(disk, nil), Failures: failures}).text()
	return string(text), err
}

// Laps is the line of a stopwatch with these phases.
func Laps(names []string, took []time.Duration) string {
	var s stopwatch
	for i, name := range names {
		s.phases = append(s.phases, phase{name, took[i]})
	}
	return s.String()
}

// Part is the slot's partition.
func (s *slot) Part() partitions.Partition { return s.part }

// NewDisk is a disk with a table and no file.
func NewDisk(name string, t *partitions.Table) *Disk { return &disk{name: name, table: t} }

// Name is the kernel's name of the disk.
func (d *disk) Name() string { return d.name }

// NewBlockDevice is an entry of ListBlock.
func NewBlockDevice(name string, size int64, sectorSize int) BlockDevice {
	return blockDevice{name, size, sectorSize}
}

// NewTarget is a table line.
func NewTarget(kind string, sectors uint64, params string) Target {
	return target{kind, sectors, params}
}

// NewModule is a line of the module list.
func NewModule(path string, devices ...string) Module {
	if devices == nil {
		devices = []string{}
	}
	return module{path, devices}
}

// Drivers is drivers with a loader of the test's.
func Drivers(list []Module, load func(string) error, say func(string, ...any)) interface {
	LoadFor(devices ...string) bool
	LoadAll()
} {
	return &driversForTest{drivers{list, load, say}}
}

type driversForTest struct{ drivers }

func (d *driversForTest) LoadFor(devices ...string) bool { return d.loadFor(devices) }
func (d *driversForTest) LoadAll()                       { d.loadAll() }
