package server

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"slipway/signing/payload"
)

// rulesFile is where the rules are, in the directory of releases.
const rulesFile = "rollout.yaml"

const (
	maxRules = 1 << 20
	// defaultRetry is how long a machine that a version failed on is left
	// alone with it.
	defaultRetry = 24 * time.Hour
)

// Rules says how channels are rolled out: rollout.yaml, a map from channels to
// their rules.
//
//	alpha:
//	  percent: 25
//	  halt-after: 5%
//	stable:
//	  paused: true
//	  floors: [4888.0.0]
//	  retry-failed: 48h
type Rules map[string]Rule

// Rule is how one channel is rolled out.
type Rule struct {
	// Paused offers nothing.
	Paused bool `yaml:"paused"`
	// Percent is how many machines of a hundred are offered the newest
	// version; nil is all. Which ones follows from their ids and the version,
	// so that it is not always the same who go first.
	Percent *float64 `yaml:"percent"`
	// Floors are versions that no machine may skip.
	Floors []string `yaml:"floors"`
	// RetryFailed is how long a machine on which the newest version failed is
	// not offered it again, doubling with each failure.
	RetryFailed Duration `yaml:"retry-failed"`
	// HaltAfter is on how many machines a version may fail, "3" or "5%", before
	// it is offered to none any more; nil is no limit.
	HaltAfter *Limit `yaml:"halt-after"`
	// Resume is a version that is to go on though it was halted.
	Resume string `yaml:"resume"`
}

// Duration is a time.Duration in text, such as 24h.
type Duration time.Duration

// UnmarshalYAML reads Go's form of durations.
func (d *Duration) UnmarshalYAML(text []byte) error {
	var s string
	if err := yaml.Unmarshal(text, &s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if err == nil && v < 0 {
		err = fmt.Errorf("duration %q: negative", s)
	}
	*d = Duration(v)
	return err
}

// of gives the rule of a channel with defaults filled in.
func (r Rules) of(channel string) Rule {
	rule := r[channel]
	if rule.Percent == nil {
		all := 100.0
		rule.Percent = &all
	}
	if rule.RetryFailed == 0 {
		rule.RetryFailed = Duration(defaultRetry)
	}
	return rule
}

// readRules reads the rules; no file is no rules.
func readRules(root *os.Root) (Rules, error) {
	f, err := root.Open(rulesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rules := Rules{}
	err = yaml.NewDecoder(io.LimitReader(f, maxRules), yaml.DisallowUnknownField()).Decode(&rules)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", rulesFile, err)
	}
	for channel, rule := range rules {
		if p := rule.Percent; p != nil && (*p < 0 || *p > 100) {
			return nil, fmt.Errorf("%s: %s: percent %g: not from 0 to 100", rulesFile, channel, *p)
		}
		for _, floor := range rule.Floors {
			if !isVersion(floor) {
				return nil, fmt.Errorf("%s: %s: floor %q: not MAJOR.MINOR.PATCH", rulesFile, channel, floor)
			}
		}
		if rule.Resume != "" && !isVersion(rule.Resume) {
			return nil, fmt.Errorf("%s: %s: resume %q: not MAJOR.MINOR.PATCH", rulesFile, channel, rule.Resume)
		}
		slices.SortFunc(rule.Floors, func(a, b string) int {
			order, _ := payload.CompareVersions(a, b) // both were checked
			return order
		})
	}
	return rules, nil
}

func isVersion(s string) bool {
	_, err := payload.CompareVersions(s, s)
	return err == nil && s != ""
}
