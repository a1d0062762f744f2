package bootengine

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"slipway/partitions"
)

// ext4ResizeFS is EXT4_IOC_RESIZE_FS of the kernel's fs/ext4/ext4.h:
// _IOW('f', 16, __u64), the number of blocks.
const ext4ResizeFS = 0x40086610

// ioctlPointer is an ioctl whose argument is the address of a number.
func ioctlPointer(f *os.File, request uintptr, arg *uint64) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(arg)))
	if errno != 0 {
		return errno
	}
	return nil
}

// resizeInKernel tells the kernel the new size of a partition that may be in
// use, which re-reading the whole table could not.
func resizeInKernel(d *disk, p partitions.Partition) error {
	part := unix.BlkpgPartition{
		Start:  p.Start * int64(d.table.SectorSize),
		Length: p.Size * int64(d.table.SectorSize),
		Pno:    int32(p.Number),
	}
	arg := unix.BlkpgIoctlArg{
		Op:      unix.BLKPG_RESIZE_PARTITION,
		Datalen: int32(unsafe.Sizeof(part)),
		Data:    (*byte)(unsafe.Pointer(&part)),
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, d.file.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return fmt.Errorf("tell the kernel: %w", errno)
	}
	return nil
}
