// Package powercut answers what a disk may hold after the power failed. It
// has a disk in memory, a recorder that remembers every write and every sync,
// the images that a power cut at any moment can leave of such a recording,
// and a reader of the log that QEMU's block driver blklogwrites keeps of a
// whole machine.
//
// The model is that of a disk with a volatile cache: what was written before
// a completed sync is there; of what was written since then, any selection of
// 512-byte sectors is. That covers writes cut off in the middle (torn), left
// out (dropped) and done in another order. Not covered: disks that lie about
// syncs, or damage sectors nobody wrote.
//
// A test looks like this:
//
//	rec := powercut.Record(disk)
//	err := change(rec)
//	for state := range rec.States(powercut.Options{Seed: 1}) {
//		check(state.Disk) // which may be written, or recorded, again
//	}
//
// and of a whole machine, with a log of gigabytes, like this:
//
//	ops, err := powercut.ReadLog(log, size)
//	for cut := range powercut.Cuts(ops, powercut.CutOptions{Seed: 1, Count: 100}) {
//		image, err := powercut.Replay(base, diskSize, cut.Operations)
//		check(image) // or image.WriteFile(file), and start a machine from it
//	}
//
// Nothing here knows what is on the disk, and nothing here is safe for use by
// several goroutines.
package powercut

// Sector is the unit that a disk writes as a whole, in bytes. Disks with
// larger sectors tear writes in fewer places.
const Sector = 512
