package bootengine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapper speaks to the kernel's device mapper: struct dm_ioctl of
// <linux/dm-ioctl.h>, version 4.
type mapper struct {
	control *os.File
}

// target is the one line of a device's table.
type target struct {
	kind    string
	sectors uint64 // of 512 bytes
	params  string
}

const (
	dmHeaderSize = 312
	dmSpecSize   = 40
	dmBufferSize = 4096
	dmControl    = "/dev/mapper/control"

	// Offsets in struct dm_ioctl.
	dmDataSize    = 12
	dmDataStart   = 16
	dmTargetCount = 20
	dmFlags       = 28
	dmDev         = 40
	dmName        = 48
	dmUUID        = 176
)

func openMapper() (*mapper, error) {
	f, err := os.OpenFile(dmControl, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("device mapper: %w", err)
	}
	return &mapper{f}, nil
}

func (m *mapper) close() { _ = m.control.Close() }

// create makes a read-only device with one target and starts it. It returns
// the kernel's name of it, "dm-0". On an error nothing is left.
func (m *mapper) create(name, uuid string, t target) (node string, err error) {
	request, err := dmRequest(name, uuid)
	if err != nil {
		return "", err
	}
	if err := m.call(unix.DM_DEV_CREATE, request); err != nil {
		return "", fmt.Errorf("create %s: %w", name, err)
	}
	minor := deviceMinor(binary.NativeEndian.Uint64(request[dmDev:]))
	defer func() {
		if err != nil {
			err = errors.Join(err, m.remove(name))
		}
	}()
	return fmt.Sprintf("dm-%d", minor), m.load(name, t)
}

// load gives a device its table, or another one while it is in use.
func (m *mapper) load(name string, t target) error {
	request, err := dmTable(name, t)
	if err != nil {
		return err
	}
	if err := m.call(unix.DM_TABLE_LOAD, request); err != nil {
		return fmt.Errorf("load table of %s: %w", name, err)
	}
	if request, err = dmRequest(name, ""); err != nil {
		return err
	}
	// Without DM_SUSPEND_FLAG this resumes, which makes the table the live one.
	if err := m.call(unix.DM_DEV_SUSPEND, request); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

func (m *mapper) remove(name string) error {
	request, err := dmRequest(name, "")
	if err != nil {
		return err
	}
	if err := m.call(unix.DM_DEV_REMOVE, request); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func (m *mapper) call(command uintptr, request []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, m.control.Fd(), command, uintptr(unsafe.Pointer(&request[0])))
	if errno != 0 {
		return errno
	}
	return nil
}

// dmRequest is a request about a device. The UUID is for new devices only.
func dmRequest(name, uuid string) ([]byte, error) {
	if len(name) > 127 || len(uuid) > 128 {
		return nil, fmt.Errorf("device name %q or UUID %q is too long", name, uuid)
	}
	b := make([]byte, dmBufferSize)
	ne := binary.NativeEndian
	ne.PutUint32(b[0:], 4) // interface version 4.0.0
	ne.PutUint32(b[dmDataSize:], dmBufferSize)
	ne.PutUint32(b[dmDataStart:], dmHeaderSize)
	copy(b[dmName:], name)
	copy(b[dmUUID:], uuid)
	return b, nil
}

// dmTable is a request that loads a read-only table of one target.
func dmTable(name string, t target) ([]byte, error) {
	b, err := dmRequest(name, "")
	if err != nil {
		return nil, err
	}
	if len(t.kind) > 15 || dmHeaderSize+dmSpecSize+len(t.params) >= dmBufferSize {
		return nil, fmt.Errorf("table of %s is too long", name)
	}
	ne := binary.NativeEndian
	ne.PutUint32(b[dmTargetCount:], 1)
	ne.PutUint32(b[dmFlags:], unix.DM_READONLY_FLAG)
	spec := b[dmHeaderSize:]
	ne.PutUint64(spec[8:], t.sectors) // it starts at sector 0
	copy(spec[24:], t.kind)
	copy(spec[dmSpecSize:], t.params)
	return b, nil
}

// deviceMinor takes the minor number out of the kernel's 64-bit device number.
func deviceMinor(dev uint64) uint64 { return dev&0xff | dev>>12&0xfff00 }

// linkMapper makes /dev/mapper/NAME, as udev would.
func linkMapper(name, node string) error {
	if _, err := os.Stat("/dev/" + node); err != nil {
		return fmt.Errorf("device mapper: %w", err)
	}
	err := os.Symlink("../"+node, "/dev/mapper/"+name)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("device mapper: %w", err)
	}
	return nil
}
