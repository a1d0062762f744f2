package footer_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/signing/footer"
	"slipway/signing/key"
)

func TestCountersign(t *testing.T) {
	a, b, c := seeded(t, 1), seeded(t, 2), seeded(t, 3)
	block, err := footer.Encode(t.Context(), slotSize, sample(), a, b)
	require.NoError(t, err)
	more, err := footer.Countersign(t.Context(), slot(block), slotSize, c, a)
	require.NoError(t, err)
	require.Len(t, more, footer.Size)
	for _, s := range []testSigner{a, b, c} {
		got, err := footer.Read(slot(more), slotSize, []key.Key{s.key})
		require.NoError(t, err)
		assert.Equal(t, sample(), got)
	}
	_, signatures, err := footer.Inspect(slot(more), slotSize)
	require.NoError(t, err)
	var ids []string
	for _, s := range signatures {
		ids = append(ids, s.KeyID)
	}
	assert.Equal(t, []string{b.key.ID, c.key.ID, a.key.ID}, ids, "one signature a key, the new ones last")

	again, err := footer.Countersign(t.Context(), slot(more), slotSize, c, a)
	require.NoError(t, err)
	assert.Equal(t, more, again)
}

func TestCountersignErrors(t *testing.T) {
	s := seeded(t, 1)
	_, err := footer.Countersign(t.Context(), slot(make([]byte, footer.Size)), slotSize, s)
	assert.ErrorIs(t, err, footer.ErrNone)
	_, err = footer.Countersign(t.Context(), slot(footer.Assemble([]byte(`{"format":"x"}`), s)), slotSize, s)
	assert.EqualError(t, err, `slot footer: format "x", want "slipway-slot-1"`)

	block, err := footer.Encode(t.Context(), slotSize, sample(), s)
	require.NoError(t, err)
	_, err = footer.Countersign(t.Context(), slot(block), slotSize)
	assert.EqualError(t, err, "slot footer: 0 signers, want 1 to 16")
	for n := range byte(15) {
		block, err = footer.Countersign(t.Context(), slot(block), slotSize, seeded(t, 100+n))
		require.NoError(t, err)
	}
	_, err = footer.Countersign(t.Context(), slot(block), slotSize, seeded(t, 200))
	assert.EqualError(t, err, "slot footer: 17 signatures, want at most 16")
}

// Every signer is asked, so that one run hands out all digests.
func TestEverySignerIsAsked(t *testing.T) {
	asked := 0
	reluctant := func(b byte) testSigner {
		s := seeded(t, b)
		s.sign = func([32]byte) ([]byte, error) {
			asked++
			return nil, errors.New("not today")
		}
		return s
	}
	a, b := reluctant(1), reluctant(2)
	_, err := footer.Encode(t.Context(), slotSize, sample(), a, seeded(t, 3), b)
	assert.EqualError(t, err, "slot footer: sign with key "+a.key.ID+": not today\nslot footer: sign with key "+b.key.ID+": not today")
	assert.Equal(t, 2, asked)
}
