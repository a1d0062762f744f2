package bootengine

import (
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/google/uuid"

	"slipway/cmd/internal/kexec"
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
	Origin      = origin
	Handover    = handover
	Watchdog    = watchdog
	Chooser     = chooser
	SlotSource  = slotSource
	Report      = report
)

const (
	BlankCheck = blankCheck
	Unfinished = unfinished
)

var (
	ReadConfig      = readConfig
	ListDevices     = listDevices
	MatchAny        = matchAny
	ListBlock       = listBlock
	DiskNote        = diskNote
	PickDisk        = pickDisk
	PlanGrow        = planGrow
	RootPartition   = rootPartition
	Doubt           = doubt
	TableDamage     = tableDamage
	PlanIdentity    = planIdentity
	PlanTable       = planTable
	OptionPlace     = optionPlace
	IsAt            = isAt
	ParseFirmware   = parseFirmware
	ReadTable       = readTable
	ParseWatchdog   = parseWatchdog
	ModuleArguments = moduleArguments
	HowToVerify     = howToVerify
	Verify          = verify
	VerityTarget    = verityTarget
	DMTable         = dmTable
	DeviceMinor     = deviceMinor
	MakeSkeleton    = makeSkeleton
	EnsureMachineID = ensureMachineID
	KexecArguments  = kexecArguments
	MarkUnfinished  = markUnfinished
	CopyFileSystem  = func(dev device, img sparseFile) error { return copyFileSystem(dev, img) }
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

// SetFooter completes an opened slot.
func (s *slot) SetFooter(ft *footer.Footer, device, verified string) {
	s.footer, s.device, s.verified = ft, device, verified
}

// SetKernel says that the slot has another kernel.
func (s *slot) SetKernel() { s.kernel = &kexec.Kernel{} }

// Text is the report of a boot.
func (r *report) Text() (string, error) {
	text, err := r.text()
	return string(text), err
}

// NewWatchdog is an armed watchdog.
func NewWatchdog(device io.WriteCloser, name string, seconds int) *Watchdog {
	return &watchdog{file: device, name: name, seconds: seconds}
}

// Progress is a reader that pings.
func (w *watchdog) Progress(r io.ReaderAt) io.ReaderAt { return w.progress(r) }

// SystemdConfig is what systemd is told.
func (w *watchdog) SystemdConfig(asked bool) string { return w.systemdConfig(asked) }

// Describe reads /sys.
func (w *watchdog) Describe(sys fs.FS) (name string, fired bool) {
	w.describe(sys)
	return w.name, w.fired
}

// SplitWatchdogs gives the paths of drivers of watchdogs, of the stand-in, and
// of other modules.
func SplitWatchdogs(list []Module) (devices, standIn, others []Module) {
	dogs, others := splitWatchdogs(list)
	devices, standIn = splitStandIn(dogs)
	return devices, standIn, others
}

// NewOrigin is where a machine was started from.
func NewOrigin(partition, place string) Origin { return origin{partition, place} }

// Parts takes apart what UEFI says.
func (f firmware) Parts() (partition, place string) { return f.partition, f.place }

// RefersTo says whether a boot option names a partition.
func (f firmware) RefersTo(id uuid.UUID) bool { return f.refersTo(id) }

// NewChooser is a chooser of slots.
func NewChooser(t *partitions.Table, src SlotSource, say func(string, ...any)) *Chooser {
	return &chooser{table: t, src: src, say: say}
}

// Next, Given, Reject and Failures are the chooser's.
func (c *chooser) Next() (*Slot, error)            { return c.next() }
func (c *chooser) Given(number int) (*Slot, error) { return c.given(number) }
func (c *chooser) Reject(s *Slot, err error)       { c.reject(s.part, err) }
func (c *chooser) Failures() []Failure             { return c.failures }

// ReadHandover and AppendTo are the two ends of a handover.
func ReadHandover(root fs.FS) (Handover, error) { return readHandover(root) }
func (h handover) AppendTo(f *os.File) error    { return h.appendTo(f) }

// WatchdogArgument is what the command line says about the watchdog.
func (c *config) WatchdogArgument() (seconds int, asked bool) { return c.watchdog, c.watchdogAsked }

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

// At puts the disk into a place.
func (d *disk) At(place string) *Disk {
	d.place = place
	return d
}

// NewBlockDevice is an entry of ListBlock.
func NewBlockDevice(name, place string, size int64, sectorSize int) BlockDevice {
	return blockDevice{name, place, size, sectorSize}
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
