package partitions_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
)

func TestAttributesOfAllSlots(t *testing.T) {
	for priority := range 16 {
		for tries := range 16 {
			for _, successful := range []bool{false, true} {
				a := partitions.Slot(priority, tries, successful)
				want := uint64(priority)<<48 | uint64(tries)<<52
				if successful {
					want |= 1 << 56
				}
				require.Equal(t, want, uint64(a))
				require.Equal(t, priority, a.Priority())
				require.Equal(t, tries, a.Tries())
				require.Equal(t, successful, a.Successful())
				require.Equal(t, priority > 0 && (tries > 0 || successful), a.Bootable())
			}
		}
	}
}

func TestAttributesKeepTheOtherBits(t *testing.T) {
	all := ^partitions.Attributes(0)
	assert.Equal(t, all&^(15<<48), all.WithPriority(0))
	assert.Equal(t, all&^(15<<52)|5<<52, all.WithTries(5))
	assert.Equal(t, all&^(1<<56), all.WithSuccessful(false))
	assert.Equal(t, all&^4, all.WithLegacyBoot(false))
	assert.Equal(t, all&^1, all.WithRequired(false))
	assert.Equal(t, partitions.Attributes(15<<48), partitions.Attributes(0).WithPriority(99))
	assert.Equal(t, partitions.Attributes(0), partitions.Attributes(0).WithTries(-1))
	assert.Equal(t, "priority=2 tries=1 successful=0", partitions.Slot(2, 1, false).String())
	assert.True(t, partitions.LegacyBoot.LegacyBoot())
	assert.True(t, partitions.Required.Required())
}

func TestParseType(t *testing.T) {
	for _, name := range []string{"coreos-usr", "coreos-rootfs", "flatcar-usr", "flatcar-rootfs", "5DFBF5F4-2848-4bac-AA5E-0D9A20B745A6"} {
		id, ok := partitions.ParseType(name)
		assert.True(t, ok, name)
		assert.Equal(t, uuid.MustParse(partitions.TypeUSR), id, name)
	}
	for _, name := range []string{"", "coreos", "{5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6}", "5dfbf5f428484bacaa5e0d9a20b745a6"} {
		_, ok := partitions.ParseType(name)
		assert.False(t, ok, name)
	}
}
