package updateengine

import (
	"slipway/cmd/internal/download"
	"slipway/signing/payload"
)

// maxPartial bounds the part of an operation that is kept when a download ends
// in its middle, in bytes. A larger one is fetched again.
const maxPartial = 256 << 10

// file is the payload of an offer as a download.
func (t *talk) file(o *offer) *download.File {
	return &download.File{
		Client: t.Client, URLs: o.update.URLs, Size: o.update.Size, Patience: t.Patience,
		Sleep: t.Sleep, Random: t.Random, Log: t.say,
	}
}

// keeper keeps checkpoints. payload.Apply calls it once at a time.
type keeper struct {
	*talk
	offer    *offer
	slot     string
	stream   *download.Stream
	metadata []byte
	lost     bool // a checkpoint could not be kept
}

// checkpoint keeps where to go on. Where that is impossible the update goes on
// without.
func (k *keeper) checkpoint(c *payload.Checkpoint) error {
	if len(c.Partial) > maxPartial {
		return nil // the one before is good for as much
	}
	err := k.saveProgress(&progressed{
		Payload: k.offer.id(), Size: k.offer.update.Size, ETag: k.stream.ETag(), Slot: k.slot,
		From: k.boot.RootHash, Metadata: k.metadata, Checkpoint: c,
	})
	if err != nil && !k.lost {
		k.say("checkpoint not kept: %v; the update goes on, and begins anew if it is interrupted", err)
	}
	k.lost = err != nil
	return nil
}
