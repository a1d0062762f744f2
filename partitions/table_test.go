package partitions_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/partitions"
)

func TestCreateReadRoundTrip(t *testing.T) {
	l := partitions.DefaultLayout(ids())
	m := defaultDisk(t)
	table := mustRead(t, m)
	assert.Equal(t, l.Partitions, table.Partitions)
	assert.Equal(t, l.DiskUUID, table.DiskUUID)
	assert.False(t, table.Damaged())
	assert.Equal(t, defaultDisk(t).Digest(), m.Digest(), "equal layouts give equal bytes")
}

func TestUseTryTakesOneTry(t *testing.T) {
	m := defaultDisk(t)
	table := mustRead(t, m)
	require.NoError(t, partitions.SetAttributes(m, table, 4, partitions.Slot(2, 1, false)))
	n, ok := partitions.Next(table)
	assert.True(t, ok)
	assert.Equal(t, 4, n)
	require.NoError(t, partitions.UseTry(m, table, 4))
	n, ok = partitions.Next(mustRead(t, m))
	assert.True(t, ok)
	assert.Equal(t, 3, n)
}
