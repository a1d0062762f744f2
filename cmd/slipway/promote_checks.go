package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/release"
	"slipway/signing/keyset"
	"slipway/signing/payload"
)

// read reads what the release says of itself.
func (p *promotion) read() (err error) {
	if p.info, _, err = release.ReadSigned(p.dir, p.accept.as(keyset.Payload)); err != nil {
		return hint.Add(fmt.Errorf("%s: %w", p.dir, p.accept.explain(err)),
			"--pub FILE names the key it is signed by, if that is to count")
	}
	if p.info.Channel != p.from {
		return fmt.Errorf("%s: is of channel %q, not of %q", p.dir, p.info.Channel, p.from)
	}
	return p.keys.suit(p.info.Development, p.dir)
}

// proven checks the evidence.
func (p *promotion) proven() error {
	again := fmt.Sprintf("slipway test %s runs the tests and records what they say", p.dir)
	d, err := release.ReadEvidence(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return hint.Add(fmt.Errorf("%s: no evidence that it works: no %s", p.dir, release.EvidenceFile), "%s", again)
	}
	if err != nil {
		return err
	}
	if _, err := d.Verify(p.accept.as(keyset.Payload)); err != nil {
		return hint.Add(fmt.Errorf("%s: %w", filepath.Join(p.dir, release.EvidenceFile), p.accept.explain(err)),
			"--pub FILE names the key of whoever recorded it, if that is to count")
	}
	n, err := d.Body.Check(p.info, p.required)
	if err != nil {
		return hint.Add(fmt.Errorf("%s: %w", p.dir, err), "%s", again)
	}
	p.rep.Step("evidence").Done("%d cases passed, all %d that are required", n, len(p.required))
	return nil
}

// before is the pointer that the channel has, nil if none. It must be signed,
// and name no newer version.
func (p *promotion) before() (*release.Pointer, error) {
	channel := filepath.Join(p.releases, p.to)
	next, newest := int64(1), ""
	d, err := release.ReadPointer(channel)
	switch {
	case err == nil:
		if _, err := d.Verify(p.accept.as(keyset.Payload)); err != nil {
			return nil, hint.Add(fmt.Errorf("%s: %w", filepath.Join(channel, release.PointerFile), p.accept.explain(err)),
				"--pub FILE names the key it is signed by, if that is to count")
		}
		next, newest = d.Body.Sequence+1, d.Body.Version
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	default:
		newest, _ = os.Readlink(filepath.Join(channel, "current")) // no link, no version
	}
	order, err := payload.CompareVersions(p.info.Version, newest)
	if newest != "" && err == nil && order < 0 && !p.allowOlder {
		return nil, hint.Add(fmt.Errorf("channel %s: gives %s, which is newer than %s", p.to, newest, p.info.Version),
			"--allow-older takes the channel back; `paused: true` in rollout.yaml stops a roll-out")
	}
	if p.sequence == 0 {
		p.sequence = next
	}
	if p.sequence < next {
		return nil, hint.Add(fmt.Errorf("channel %s: has pointer %d, which %d does not follow", p.to, next-1, p.sequence),
			"leave --sequence out")
	}
	if d == nil {
		return nil, nil
	}
	return d.Body, nil
}
