package locksmith

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"slipway/cmd/internal/hint"
	"slipway/cmd/internal/locksmith/lock"
)

func (c *ctl) status(ctx context.Context, args []string) error {
	asJSON := len(args) == 1 && (args[0] == "-json" || args[0] == "--json")
	if len(args) == 1 && !asJSON {
		return hint.Usagef("status: unknown argument %q", args[0])
	}
	l, done, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	v, err := l.View(ctx)
	if err != nil {
		return c.away("Error getting value", err)
	}
	if asJSON {
		text, err := json.MarshalIndent(document(v), "", "  ")
		if err != nil {
			return fmt.Errorf("internal error: %w", err)
		}
		_, err = fmt.Fprintf(c.Stdout, "%s\n", text)
		return err
	}
	_, err = c.Stdout.Write([]byte(statusText(v, c.Now())))
	return err
}

// statusText is CoreOS's status, and below that what there is to know about the
// holders.
func statusText(v *lock.View, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Available: %d\nMax: %d\n", v.Available(), v.Max)
	ids := v.Holders()
	if len(ids) == 0 {
		return b.String()
	}
	fmt.Fprintln(&b, "\nMACHINE ID")
	for _, id := range ids {
		fmt.Fprintln(&b, id)
	}
	fmt.Fprintln(&b)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOLDER\tHOST\tSINCE\tREACHABLE\tSTATE")
	for _, h := range document(v).Holders {
		since := "-"
		if !h.Since.IsZero() {
			since = fmt.Sprintf("%s (%s)", h.Since.UTC().Format("2006-01-02 15:04:05 MST"),
				max(0, now.Sub(h.Since)).Round(time.Second))
		}
		host, reachable := "-", "no"
		if h.Host != "" {
			host = h.Host
		}
		if h.Reachable {
			reachable = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.ID, host, since, reachable, h.text())
	}
	w.Flush()
	return b.String()
}

// statusDocument is the status as JSON.
type statusDocument struct {
	Available int      `json:"available"`
	Max       int      `json:"max"`
	Holders   []holder `json:"holders"`
}

// holder is who has the lock.
type holder struct {
	ID        string `json:"id"`
	Reachable bool   `json:"reachable"`
	lock.Record
	// Version runs on it now, and Health is that of this boot, if it is back.
	Version string `json:"version,omitempty"`
	Health  string `json:"health,omitempty"`
}

func document(v *lock.View) *statusDocument {
	d := &statusDocument{Available: v.Available(), Max: v.Max, Holders: []holder{}}
	for _, id := range v.Holders() {
		r, _ := v.Holder(id)
		p, there := v.Present[id]
		h := holder{ID: id, Reachable: there, Record: r}
		if there && p.Boot != r.Boot { // it is back
			h.Version, h.Health = p.Version, p.Health
		}
		d.Holders = append(d.Holders, h)
	}
	return d
}

// text is the state for people.
func (h *holder) text() string {
	text := string(h.State)
	if h.To != "" && h.State != lock.Failed {
		text += " into " + h.To
	}
	switch {
	case h.State == lock.Failed:
		text += ": " + h.Reason
	case h.Health != "":
		text += ", back: " + h.Health
	case h.State == lock.Restarting && !h.Reachable:
		text += ", not back yet"
	}
	return text
}
