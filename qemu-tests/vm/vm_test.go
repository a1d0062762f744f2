package vm_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/qemu-tests/vm"
)

// bootSector is a disk whose first sector writes "hello" to the serial port
// and halts.
func bootSector(t *testing.T) string {
	code := []byte{
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xbe, 0x15, 0x7c, // mov si, text
		0xac,       // next: lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x03, // jz halt
		0xee,       // out dx, al
		0xeb, 0xf8, // jmp next
		0xf4,       // halt: hlt
		0xeb, 0xfd, // jmp halt
	}
	disk := make([]byte, 1<<20)
	copy(disk, append(code, "hello\r\n"...))
	disk[510], disk[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(path, disk, 0o600))
	return path
}

func newVM(t *testing.T, c *vm.Config) *vm.VM {
	c.Tools = toolstest.Tree(t, "run")
	v, err := vm.New(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, v.Close()) })
	return v
}

func TestLivesOfAMachine(t *testing.T) {
	disk := bootSector(t)
	original, err := os.ReadFile(disk)
	require.NoError(t, err)
	v := newVM(t, &vm.Config{Disk: disk, DiskSize: 2 << 20, Memory: 64, CPUs: 1})
	assert.False(t, v.Running())
	for range 2 {
		require.NoError(t, v.Start(t.Context()))
		assert.True(t, v.Running())
		assert.EqualError(t, v.Start(t.Context()), "VM: already started")
		_, err := v.Expect(t.Context(), `hello\n`)
		require.NoError(t, err)
		require.NoError(t, v.Snapshot(t.Context(), "said"))
		require.NoError(t, v.Restore(t.Context(), "said"))
		v.PowerCut()
		assert.False(t, v.Running())
	}
	_, _, err = v.Run(t.Context(), "true")
	assert.EqualError(t, err, "VM: is off")
	assert.EqualError(t, v.Snapshot(t.Context(), "x"), "VM: is off")
	assert.Contains(t, v.Reproduce(), "-serial mon:stdio")
	now, err := os.ReadFile(disk)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(original, now), "the image is not written to")
}

func TestSnapshotHoldsUEFIVariables(t *testing.T) {
	v := newVM(t, &vm.Config{Disk: bootSector(t), Firmware: vm.UEFI, Memory: 128, CPUs: 1})
	require.NoError(t, v.Start(t.Context()))
	require.NoError(t, v.Snapshot(t.Context(), "early"))
	require.NoError(t, v.Restore(t.Context(), "early"))
	assert.ErrorContains(t, v.Restore(t.Context(), "never"), "QEMU loadvm never: Error: ")
}

func TestContextEndsTheMachine(t *testing.T) {
	v := newVM(t, &vm.Config{Disk: bootSector(t), Memory: 64, CPUs: 1})
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, v.Start(ctx))
	_, err := v.Expect(t.Context(), "hello")
	require.NoError(t, err)
	cancel()
	_, err = v.Expect(t.Context(), "something else")
	assert.ErrorContains(t, err, `console: no match for "something else": QEMU has ended`)
	assert.ErrorContains(t, v.Wait(t.Context()), "QEMU: ")
	assert.False(t, v.Running())
}

func TestNoAgentIsAnError(t *testing.T) {
	v := newVM(t, &vm.Config{Disk: bootSector(t), Memory: 64, CPUs: 1})
	require.NoError(t, v.Start(t.Context()))
	_, err := v.Expect(t.Context(), "hello")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	assert.ErrorContains(t, v.Ready(ctx), "agent: not ready: context deadline exceeded\n")
}

func TestStartErrors(t *testing.T) {
	v := newVM(t, &vm.Config{Disk: bootSector(t), ExtraArgs: []string{"-device", "flux-capacitor"}})
	assert.ErrorContains(t, v.Start(t.Context()), "'flux-capacitor' is not a valid device model name")
	_, err := vm.New(t.Context(), &vm.Config{Tools: toolstest.Tree(t, "run"), Disk: "/no/such.img"})
	assert.ErrorContains(t, err, "qemu-img create: exit status 1: ")
	assert.ErrorContains(t, err, "No such file or directory")
}
