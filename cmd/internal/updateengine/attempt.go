package updateengine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"slipway/cmd/internal/install"
	"slipway/cmd/internal/updatebus"
	"slipway/cmd/internal/updateconf"
	"slipway/signing/omaha"
	"slipway/signing/payload"
)

const (
	// maxDeltaFailures is after how many deltas in a row that could not be
	// applied only full payloads are asked for, until an update has succeeded.
	maxDeltaFailures = 3
	// failurePause is how long a version that did not stay, or a payload that
	// could not be applied, is left alone; twice as long after each failure.
	failurePause = 24 * time.Hour
	// memory is what the collector aims at while a payload is applied, bytes.
	memory = 80 << 20
)

// result is how an attempt ended, for the schedule.
type result struct {
	err  error
	poll time.Duration // the server's wish, 0 if it has none
	// soon asks for another attempt in a minute: something has to settle first.
	soon bool
}

// errDisabled says that there is nobody to ask.
var errDisabled = errors.New("no update server")

// attempt asks the server, and installs what it offers. forced is that somebody
// wants it now, whatever failed before.
func (g *Engine) attempt(ctx context.Context, forced bool) result {
	g.work.Lock()
	defer g.work.Unlock()
	config := updateconf.Read(g.root())
	for _, p := range config.Problems {
		g.say("%s", p)
	}
	if config.Server == "" || config.Server == updateconf.ServerDisabled {
		return result{err: errDisabled}
	}
	t := &talk{Engine: g, config: config, source: bySchedule}
	if forced {
		t.source = onDemand
	}
	waiting := g.Status().Operation == updatebus.NeedReboot
	if !waiting {
		ok, err := g.proven()
		switch {
		case err != nil:
			g.say("%v", err)
			return result{err: err}
		case !ok:
			g.say("%v", install.ErrOnTrial)
			return result{err: install.ErrOnTrial, soon: true}
		}
		g.enter(updatebus.Checking)
	}
	g.settle()
	err := t.update(ctx, forced)
	if err != nil && ctx.Err() == nil {
		g.say("%v", err)
	}
	g.rest()
	return result{err: err, poll: t.poll}
}

// rest is the status between two attempts.
func (g *Engine) rest() {
	g.set(func(s *updatebus.Status) {
		s.Operation, s.Progress, s.NewVersion, s.NewSize = updatebus.Idle, 0, noVersion, 0
		if i := g.state.Installed; i != nil && i.Boot == g.host.bootID {
			s.Operation, s.NewVersion, s.NewSize = updatebus.NeedReboot, i.Version, i.Size
		}
	})
}

// update asks and installs: a delta first; if that cannot be applied, at once
// the full payload.
func (t *talk) update(ctx context.Context, forced bool) error {
	deltaOK := t.state.DeltaFailures < maxDeltaFailures
	for {
		o, err := t.check(ctx, deltaOK)
		if err != nil {
			return fmt.Errorf("update check: %w", err)
		}
		if o == nil {
			t.watchAge()
			return nil
		}
		if t.installed(o) {
			return nil
		}
		if err := t.wanted(o, forced); err != nil {
			return err
		}
		err = t.install(ctx, o, forced)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.failed(ctx, o, err)
		if !o.update.Delta || !t.blamesDelta(err) {
			return fmt.Errorf("update to %s: %w", o.update.Version, err)
		}
		t.say("delta to %s: %v; taking the full payload", o.update.Version, err)
		t.state.DeltaFailures++
		t.save()
		deltaOK = false
	}
}

// watchAge says when there has been nothing newer for longer than there should:
// a server that keeps updates back cannot change how old the signed /usr is.
func (t *talk) watchAge() {
	age := t.time().Sub(t.host.built)
	if limit := t.config.UpdateMaxAge; limit > 0 && age > limit {
		t.say("nothing newer than %s of %s for %s: the channel sleeps, or somebody keeps updates from this machine",
			t.boot.Version, t.host.built.UTC().Format(time.DateOnly), age.Round(time.Hour))
	}
}

// installed says whether the offer is what waits for a restart already.
func (t *talk) installed(o *offer) bool {
	i := t.state.Installed
	return i != nil && i.Boot == t.host.bootID && i.Version == o.update.Version
}

// wanted says why an offer is not to be taken yet.
func (t *talk) wanted(o *offer, forced bool) error {
	if b := t.state.Broken; !forced && b.holds(o.id(), t.Now()) {
		return fmt.Errorf("update to %s: its payload could not be applied %d times; not again before %s",
			o.update.Version, b.Times, b.Until.UTC().Format(time.RFC3339))
	}
	if f := t.state.Failed; f != nil && f.Payload == o.id() && !forced && f.holds(f.ID, t.Now()) {
		return f.notYet()
	}
	return nil
}

// notYet says that a version is not tried again yet.
func (f *Failure) notYet() error {
	return &deferredError{fmt.Errorf("version %s was started here %d times and did not stay; not again before %s",
		f.Version, f.Times, f.Until.UTC().Format(time.RFC3339))}
}

// install downloads a payload into the other slot and lets that start.
func (t *talk) install(ctx context.Context, o *offer, forced bool) (err error) {
	slot, err := install.Open(t.Machine, t.boot)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, slot.Close()) }()
	t.withdraw()
	t.set(func(s *updatebus.Status) {
		s.Operation, s.Progress = updatebus.Available, 0
		s.NewVersion, s.NewSize = o.update.Version, o.update.Size
	})
	kind := "full payload"
	if o.update.Delta {
		kind = "delta"
	}
	t.say("update to %s: %s of %d bytes into %s", o.update.Version, kind, o.update.Size, slot.Label())

	// What an update takes must not depend on the collector's mood, and what
	// it took is given back.
	defer debug.FreeOSMemory()
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(memory))
	begin := t.Now()
	root, err := t.apply(ctx, slot, o, forced)
	if err != nil {
		return err
	}
	t.dropProgress()
	t.state.DeltaFailures, t.state.Broken = 0, nil
	t.state.Installed = &Installed{
		Version: o.update.Version, RootHash: root, From: t.boot.Version, Slot: slot.Label(),
		Payload: o.id(), Size: o.update.Size, Boot: t.host.bootID,
	}
	t.save()
	t.say("update to %s: in %s after %s, verified; a restart starts it", o.update.Version, slot.Label(),
		t.Now().Sub(begin).Round(time.Second))
	t.tell(ctx, &omaha.Event{Type: omaha.EventUpdateComplete, Result: omaha.ResultSuccess})
	return nil
}

// withdraw forgets a version that waits for a restart, for its slot is about to
// be replaced.
func (t *talk) withdraw() {
	if t.state.Installed != nil {
		t.state.Installed = nil
		t.save()
	}
}

// apply runs install.Install, from a checkpoint if there is one, and returns
// the root hash of what was installed.
func (t *talk) apply(ctx context.Context, slot *install.Slot, o *offer, forced bool) (string, error) {
	p := t.loadProgress(o, slot.Label())
	for {
		f, err := t.run(ctx, slot, o, forced, p)
		if err == nil {
			return f, nil
		}
		stale := errors.Is(err, payload.ErrCheckpoint) || errors.Is(err, install.ErrNotBarred) || t.wasResumed(err)
		if p == nil || !stale || ctx.Err() != nil {
			return "", err
		}
		t.say("update to %s: %v; from the beginning", o.update.Version, err)
		t.dropProgress()
		p = nil
	}
}

// wasResumed says whether an error may come from what an earlier run left, and
// another from the beginning would not have it.
func (t *talk) wasResumed(err error) bool {
	e, ok := errors.AsType[*payload.ApplyError](err)
	return ok && e.Stage >= payload.AtSignature
}

// run downloads and applies once.
func (t *talk) run(ctx context.Context, slot *install.Slot, o *offer, forced bool, p *progressed) (string, error) {
	config := &install.Options{
		Host: t.accepts(), PayloadKeys: t.host.payloadKeys(t.time()), ImageKeys: t.host.imageKeys,
		Tries: t.config.UpdateTries, Progress: t.progress,
		Applied: func(*payload.Metadata) {
			t.enter(updatebus.Finalizing)
			t.tell(ctx, &omaha.Event{Type: omaha.EventDownloadFinished, Result: omaha.ResultSuccess})
		},
	}
	file := t.file(o)
	var start int64
	var before []byte
	if p != nil {
		config.Resume, file.ETag = p.Checkpoint, p.ETag
		start, before = p.Checkpoint.Offset, p.Metadata
		t.say("update to %s: going on at %d of %d bytes", o.update.Version, start, o.update.Size)
	}
	stream := file.Open(ctx, start)
	defer stream.Close()
	keep := &keeper{talk: t, offer: o, slot: slot.Label(), stream: stream}
	config.Checkpoint = keep.checkpoint
	config.Accept = func(m *payload.Metadata) error {
		if err := t.accept(m, o, forced); err != nil {
			return err
		}
		keep.metadata = m.Bytes
		t.enter(updatebus.Downloading)
		t.tell(ctx, &omaha.Event{Type: omaha.EventDownloadStarted, Result: omaha.ResultSuccess})
		return nil
	}
	f, err := slot.Install(ctx, joined(before, stream), config)
	if err != nil {
		return "", err
	}
	return f.RootHash, nil
}

// joined is what was read before an interruption, and then the rest.
func joined(before []byte, rest io.Reader) io.Reader {
	if before == nil {
		return rest
	}
	return io.MultiReader(bytes.NewReader(before), rest)
}

// accept says why a payload that is vouched for must not be applied, beyond
// what package payload knows.
func (t *talk) accept(m *payload.Metadata, o *offer, forced bool) error {
	i := &m.Manifest.Info
	switch {
	case i.Version != o.update.Version:
		return fmt.Errorf("payload: of version %s, the server said %s", i.Version, o.update.Version)
	case m.PayloadSize() != o.update.Size:
		return fmt.Errorf("payload: of %d bytes, the server said %d", m.PayloadSize(), o.update.Size)
	case i.RootHash == t.boot.RootHash:
		return fmt.Errorf("payload: of version %s, which runs", i.Version)
	}
	if f := t.state.Failed; !forced && f.holds(i.RootHash, t.Now()) {
		return f.notYet()
	}
	return nil
}

// deferredError is about something that may be tried later.
type deferredError struct{ error }

// accepts is what the machine lets itself be changed to.
func (t *talk) accepts() payload.Host {
	return payload.Host{
		Name: t.host.name, Version: t.boot.Version, Architecture: t.host.architecture, RootHash: t.boot.RootHash,
		LowestVersion: t.state.Floor, Downgrade: t.config.Downgrade, Development: t.boot.Development,
	}
}
