package qemutests_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/fat"
	"slipway/build/tools/toolstest"
	"slipway/build/tree"
	"slipway/partitions"
	"slipway/qemu-tests/powercut"
	"slipway/qemu-tests/vm"
)

// tableSize is how much of each end of a disk the partition table takes.
const tableSize = 34 * 512

// recording is what the machine of a journey did to its disk.
type recording struct {
	*journey
	ops []powercut.Operation
}

// recorded reads the record of the journey.
func (c *updateRun) recorded() *recording {
	j := c.journey()
	log, err := os.Open(j.WriteLog())
	require.NoError(c, err)
	c.Cleanup(func() { log.Close() })
	info, err := log.Stat()
	require.NoError(c, err)
	ops, err := powercut.ReadLog(log, info.Size())
	require.NoError(c, err)
	return &recording{j, ops}
}

// until returns the operations up to the first sync at which a part of the
// disk is as wanted.
func (r *recording) until(
	t *testing.T, part func(powercut.Operation) bool, done func(*powercut.Image) bool,
) []powercut.Operation {
	changed := false
	for i, op := range r.ops {
		changed = changed || part(op)
		if op.Kind != powercut.Sync || !changed {
			continue
		}
		if changed = false; done(r.replay(t, r.ops[:i+1])) {
			return r.ops[:i+1]
		}
	}
	t.Fatalf("after none of the machine's %d operations the disk is as wanted", len(r.ops))
	return nil
}

func (r *recording) touchesTable(op powercut.Operation) bool {
	return powercut.Touches(0, tableSize)(op) || powercut.Touches(r.start.Size()-tableSize, tableSize)(op)
}

// replay is the disk after some operations. To be quick it leaves out what
// was done to ROOT, where the most is done.
func (r *recording) replay(t *testing.T, ops []powercut.Operation) *powercut.Image {
	offset, size := r.start.slot(t, "ROOT")
	var kept []powercut.Operation
	for _, op := range ops {
		if op.Offset < offset || op.Offset >= offset+size {
			kept = append(kept, op)
		}
	}
	image, err := powercut.Replay(r.start.Disk, r.start.Size(), kept)
	require.NoError(t, err)
	return image
}

// restart starts a machine from what a power cut left, with everything that
// was in ROOT, and returns it when its system is up.
func (r *recording) restart(c *updateRun, cut powercut.Cut) *machine {
	image, err := powercut.Replay(r.start.Disk, r.start.Size(), cut.Operations)
	require.NoError(c, err)
	file, err := os.Create(filepath.Join(c.TempDir(), "cut.img"))
	require.NoError(c, err)
	defer file.Close()
	require.NoError(c, image.WriteFile(file))
	m := newMachine(c.T, c.lab, bare(&vm.Config{Disk: file.Name(), Firmware: c.firmware}))
	m.kept = r.start.kept
	m.up(c.T)
	return m
}

// testPowerCutTries cuts the power while bootengine takes the only try of an
// update: what is left must start the update, if its try is still there, or the
// version before.
func testPowerCutTries(c *updateRun) {
	r := c.recorded()
	ops := r.until(c.T, r.touchesTable, func(image *powercut.Image) bool {
		table, err := partitions.Read(image, image.Size(), 512)
		require.NoError(c, err)
		b, _ := table.Partition(4)
		return b.Attributes == partitions.Slot(2, 0, false) && !table.Damaged()
	})
	for _, op := range r.ops {
		if op.Kind == powercut.Write && r.touchesTable(op) {
			assert.True(c, op.Offset+op.Size <= tableSize || op.Offset >= r.start.Size()-tableSize,
				"%s reaches beyond the table", op)
		}
	}
	sample := map[partitions.Attributes]powercut.Cut{}
	cuts := 0
	for cut := range powercut.Cuts(ops, powercut.CutOptions{Seed: 1, Count: 24, At: r.touchesTable}) {
		image := r.replay(c.T, cut.Operations)
		table, err := partitions.Read(image, image.Size(), 512)
		require.NoError(c, err, cut.Text)
		b, _ := table.Partition(4)
		a, _ := table.Partition(3)
		number, ok := partitions.Next(table)
		require.True(c, ok, "%s: no slot can be started", cut.Text)
		assert.Equal(c, partitions.Slot(1, 0, true), a.Attributes, cut.Text)
		want := map[int]partitions.Attributes{3: partitions.Slot(2, 0, false), 4: partitions.Slot(2, 1, false)}
		assert.Equal(c, want[number], b.Attributes, cut.Text)
		judgeTable(c.T, image, table, cut.Text)
		sample[b.Attributes] = cut
		cuts++
	}
	assert.GreaterOrEqual(c, cuts, 10, "cuts looked at")
	c.Logf("%d cuts in %d operations", cuts, len(ops))
	assert.Len(c, sample, 2, "disks with and without the try were seen")
	for attributes, cut := range sample {
		c.Logf("starting with %s: %s", attributes, cut.Text)
		m := r.restart(c, cut)
		if attributes.Bootable() {
			m.runs(c.T, "USR-B", c.variant(c.T, next))
		} else {
			m.runs(c.T, "USR-A", c.release)
		}
		m.PowerCut()
	}
}

// judgeTable has foreign programs read the table that a power cut left, and
// check it after it was mended.
func judgeTable(t *testing.T, image *powercut.Image, table *partitions.Table, what string) {
	t.Helper()
	disk := powercut.Over(image, image.Size())
	path := filepath.Join(t.TempDir(), "table.img")
	writeEnds(t, path, disk)
	for _, p := range table.Slots() {
		show := func(field string) string {
			output, err := toolstest.Command(t, "cgpt", "show", "-i", fmt.Sprint(p.Number), field, path).Output()
			assert.NoError(t, err, what)
			return strings.TrimSpace(string(output))
		}
		assert.Equal(t, p.Attributes.String(), fmt.Sprintf("priority=%s tries=%s successful=%s",
			show("-P"), show("-T"), show("-S")), what)
	}
	require.NoError(t, partitions.Repair(disk, table), what)
	writeEnds(t, path, disk)
	judge(t, "No problems found", "sgdisk", "-v", path)
}

// writeEnds writes the first and the last sectors of a disk into a file of its
// size.
func writeEnds(t *testing.T, path string, disk *powercut.Disk) {
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, file.Truncate(disk.Size()))
	for _, offset := range []int64{0, disk.Size() - tableSize} {
		_, err := io.Copy(io.NewOffsetWriter(file, offset), io.NewSectionReader(disk, offset, tableSize))
		require.NoError(t, err)
	}
}

// testPowerCutStage1 cuts the power while the health service gives the firmware
// the new version's kernel: what is left must be the old file or the new one,
// and the machine must start with it.
func testPowerCutStage1(c *updateRun) {
	r := c.recorded()
	offset, size := r.start.slot(c.T, "EFI-SYSTEM")
	versions := map[string]string{
		c.stage1(c.T): "old", c.variant(c.T, next).stage1(c.T): "new",
	}
	inESP := powercut.Touches(offset, size)
	ops := r.until(c.T, inESP, func(image *powercut.Image) bool {
		return versions[firmwareFile(c.T, image, offset, size)] == "new"
	})
	sample := map[string]powercut.Cut{}
	cuts := 0
	for cut := range powercut.Cuts(ops, powercut.CutOptions{
		Seed: 1, Count: 24, At: inESP,
	}) {
		digest := firmwareFile(c.T, r.replay(c.T, cut.Operations), offset, size)
		version := versions[digest]
		require.NotEmpty(c, version, "%s: the file is neither the old nor the new one: %s", cut.Text, digest)
		sample[version] = cut
		cuts++
	}
	assert.GreaterOrEqual(c, cuts, 10, "cuts looked at")
	assert.Len(c, sample, 2, "old and new files were seen")
	c.Logf("%d cuts in %d operations", cuts, len(ops))
	c.Logf("starting from the new file: %s", sample["new"].Text)
	r.restart(c, sample["new"]).runs(c.T, "USR-B", c.variant(c.T, next))
}

// firmwareFile is the digest of what the firmware starts, from an ESP at a
// place on a disk.
func firmwareFile(t *testing.T, disk io.ReaderAt, offset, size int64) string {
	esp, err := fat.Open(io.NewSectionReader(disk, offset, size), size)
	require.NoError(t, err)
	node := esp.Lookup("EFI/BOOT/BOOTX64.EFI")
	require.NotNil(t, node)
	content, err := tree.ReadAll(node.Blob)
	require.NoError(t, err)
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
