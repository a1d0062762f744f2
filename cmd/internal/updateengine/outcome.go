package updateengine

import (
	"context"
	"errors"
	"time"

	"slipway/cmd/internal/download"
	"slipway/cmd/internal/install"
	"slipway/cmd/internal/updatebus"
	"slipway/signing/omaha"
	"slipway/signing/payload"
)

// Error codes that a server is told, as update_engine numbered them
// (action_processor.h; the gaps are what cannot happen here).
const (
	codeError          = 1  // something else
	codeOpenSlot       = 7  // the slot cannot be written
	codeTransfer       = 9  // the download broke
	codePayloadSize    = 11 // another size than announced
	codePayloadSigned  = 12 // the payload is not what was signed
	codeTarget         = 15 // what was written is not what was signed
	codeUnknownKey     = 18 // signed by nobody who counts
	codeMetadataSigned = 26 // the metadata is not what was signed
	codeOperation      = 28 // an operation failed
	codeIgnored        = 35 // not for this machine
	codeHTTP           = 37 // the server of the payload refused
	codeDeferred       = 40 // not yet: it failed before
	codeRollback       = 44 // started, and did not stay
)

// failure is the event of a failed update.
func failure(code int) *omaha.Event {
	return &omaha.Event{Type: omaha.EventUpdateComplete, Result: omaha.ResultError, ErrorCode: code}
}

// codeOf is the code of an error of install.
func codeOf(err error) int {
	if _, ok := errors.AsType[*deferredError](err); ok {
		return codeDeferred
	}
	if _, ok := errors.AsType[*install.RefusedError](err); ok {
		return codeIgnored
	}
	if _, ok := errors.AsType[*payload.UnknownKeyError](err); ok {
		return codeUnknownKey
	}
	if _, ok := errors.AsType[*download.SizeError](err); ok {
		return codePayloadSize
	}
	if _, ok := errors.AsType[*download.StatusError](err); ok {
		return codeHTTP
	}
	if _, ok := errors.AsType[*payload.CutError](err); ok {
		return codeTransfer
	}
	e, ok := errors.AsType[*payload.ApplyError](err)
	if !ok {
		return codeOpenSlot
	}
	switch e.Stage {
	case payload.AtMetadata:
		return codeMetadataSigned
	case payload.AtOperations:
		return codeOperation
	case payload.AtSignature:
		return codePayloadSigned
	case payload.AtTarget:
		return codeTarget
	}
	return codeError
}

// failed notes and reports an update that did not work out.
func (t *talk) failed(ctx context.Context, o *offer, err error) {
	code := codeOf(err)
	switch code {
	case codeTransfer, codeHTTP, codeOpenSlot, codeDeferred:
		// The same payload may work out next time, from where it stopped.
	default:
		t.dropProgress()
		if a := o.update.Action; a == nil || !a.DisableBackoff {
			t.state.Broken = t.state.Broken.fail(o.id(), o.update.Version, t.Now(), failurePause, maxFailurePause)
		}
		t.save()
	}
	if code != codeDeferred { // the server knows
		t.report(ctx, code)
	}
}

// report tells the server of a failure, and shows that it does.
func (t *talk) report(ctx context.Context, code int) {
	t.enter(updatebus.ReportingFail)
	t.tell(ctx, failure(code))
}

// blamesDelta says whether a full payload may do better than the delta that
// ended like this.
func (t *talk) blamesDelta(err error) bool {
	switch codeOf(err) {
	case codeTransfer, codeOpenSlot, codeDeferred:
		return false
	}
	return true
}

// settle finds out what became of a version that was installed before the
// machine was restarted.
func (g *Engine) settle() {
	g.raiseFloor()
	i := g.state.Installed
	if i == nil || i.Boot == g.host.bootID {
		return
	}
	g.state.Installed = nil
	if g.boot.RootHash == i.RootHash {
		g.say("version %s has taken the place of %s", i.Version, i.From)
		g.state.Failed = nil
		g.queue(&omaha.Event{
			Type: omaha.EventUpdateComplete, Result: omaha.ResultSuccessReboot, PreviousVersion: i.From,
		})
	} else {
		g.state.Failed = g.state.Failed.fail(i.RootHash, i.Version, g.Now(), failurePause, maxFailurePause)
		g.state.Failed.Payload = i.Payload
		g.say("version %s was started and did not stay: not again before %s", i.Version,
			g.state.Failed.Until.UTC().Format(time.RFC3339))
		e := failure(codeRollback)
		e.PreviousVersion = i.Version
		g.queue(e)
	}
	g.save()
}

// raiseFloor keeps what the running version, which has proven itself, asks of
// those that replace it. It is never lowered.
func (g *Engine) raiseFloor() {
	floor := g.host.floor
	if order, err := payload.CompareVersions(floor, g.state.Floor); err != nil || order <= 0 {
		return
	}
	g.say("from now on no version before %s is taken", floor)
	g.state.Floor = floor
	g.save()
}
