// Package etcdready is the program "slipway-host etcd-ready", which
// etcd.service runs after etcd: it waits until the member serves.
//
// A single node serves or is broken. A member of a cluster serves only while
// a majority of the members is up, and whether the others are says nothing of
// the version of the system that this one runs: such a member counts as up
// after a while, as long as its process stays. It is systemd that watches the
// process; this program judges only what the member says.
package etcdready

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// Env is what the program sees of the world.
type Env struct {
	// Name is the program's name in messages.
	Name string
	// Stdout and Stderr take messages and errors.
	Stdout, Stderr io.Writer
	// Getenv reads etcd's own configuration: the unit gives both programs the
	// same environment.
	Getenv func(string) string
	Client *http.Client
	Now    func() time.Time
	// Sleep returns early when ctx ends.
	Sleep func(ctx context.Context, d time.Duration)
}

// Host is the Env of a running machine.
func Host(name string) Env {
	return Env{
		Name: name, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Client: &http.Client{}, Now: time.Now, Sleep: sleep,
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// poll is how often the member is asked, and maxAnswer how much of what it
// says is read.
const (
	poll      = 200 * time.Millisecond
	maxAnswer = 64 << 10
)

// options are those of the command line.
type options struct {
	patience time.Duration // with a member of a cluster
	limit    time.Duration // with a single node
}

// Main runs the program with the arguments after its name and returns the
// exit code: 0 when the member counts as up.
func Main(ctx context.Context, args []string, e Env) int {
	flags := flag.NewFlagSet(e.Name, flag.ContinueOnError)
	flags.SetOutput(e.Stderr)
	var o options
	flags.DurationVar(&o.patience, "patience", 30*time.Second, "wait so long for a cluster's majority")
	flags.DurationVar(&o.limit, "limit", 5*time.Minute, "wait so long for a single node")
	flags.Usage = func() {
		fmt.Fprintf(e.Stderr, "usage: %s [--patience DURATION] [--limit DURATION]\n"+
			"Waits until the etcd that ETCD_ variables describe serves; etcd.service runs it.\n", e.Name)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		if err == nil {
			flags.Usage()
		}
		return 2
	}
	url := metricsURL(e.Getenv("ETCD_LISTEN_METRICS_URLS"))
	if url == "" {
		fmt.Fprintf(e.Stdout, "%s: ETCD_LISTEN_METRICS_URLS has no http:// URL to ask: not waiting\n", e.Name)
		return 0
	}
	return e.await(ctx, url, &o)
}

// await asks until there is a verdict.
func (e Env) await(ctx context.Context, url string, o *options) int {
	cluster := inCluster(e.Getenv)
	start := e.Now()
	for {
		v := judge(e.ask(ctx, url), cluster, e.Now().Sub(start), o)
		switch {
		case ctx.Err() != nil:
			return 1
		case v.done && v.err != "":
			fmt.Fprintf(e.Stderr, "%s: %s\n", e.Name, v.err)
			return 1
		case v.done:
			if v.note != "" {
				fmt.Fprintf(e.Stdout, "%s: %s\n", e.Name, v.note)
			}
			return 0
		}
		e.Sleep(ctx, poll)
	}
}

// answer is what a member says of itself.
type answer struct {
	Ready  bool
	Reason string // why not
}

// verdict is what follows from an answer.
type verdict struct {
	done      bool
	note, err string // at most one is set
}

// judge says whether to go on asking. It is pure.
func judge(a answer, cluster bool, waited time.Duration, o *options) verdict {
	switch {
	case a.Ready:
		return verdict{done: true}
	case cluster && waited >= o.patience:
		return verdict{done: true, note: fmt.Sprintf("no majority of the cluster after %s (%s): "+
			"the member runs and waits for the others", o.patience, a.Reason)}
	case !cluster && waited >= o.limit:
		return verdict{done: true, err: fmt.Sprintf("does not serve after %s: %s", o.limit, a.Reason)}
	}
	return verdict{}
}

// ask asks the member for its health.
func (e Env) ask(ctx context.Context, url string) answer {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/health", nil)
	if err != nil {
		return answer{Reason: err.Error()}
	}
	resp, err := e.Client.Do(req)
	if err != nil {
		return answer{Reason: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{Reason: err.Error()}
	}
	return parse(resp.Status, text)
}

// parse reads the document of /health: {"health":"false","reason":"..."}.
func parse(status string, text []byte) answer {
	var doc struct{ Health, Reason string }
	if err := json.Unmarshal(text, &doc); err != nil {
		return answer{Reason: fmt.Sprintf("/health: %s: %q", status, shorten(text))}
	}
	if doc.Health == "true" {
		return answer{Ready: true}
	}
	reason, _ := json.Marshal(doc.Reason) // foreign text, on one line
	return answer{Reason: string(reason)}
}

func shorten(text []byte) []byte { return text[:min(len(text), 100)] }

// metricsURL is the first URL of a list that needs no certificate, "" if there
// is none.
func metricsURL(list string) string {
	for url := range strings.SplitSeq(list, ",") {
		if strings.HasPrefix(strings.TrimSpace(url), "http://") {
			return strings.TrimRight(strings.TrimSpace(url), "/")
		}
	}
	return ""
}

// inCluster says whether etcd is told of other members.
func inCluster(getenv func(string) string) bool {
	args := getenv("DAEMON_ARGS")
	return strings.Contains(getenv("ETCD_INITIAL_CLUSTER"), ",") ||
		getenv("ETCD_INITIAL_CLUSTER_STATE") == "existing" ||
		getenv("ETCD_DISCOVERY") != "" || getenv("ETCD_DISCOVERY_SRV") != "" ||
		strings.Contains(args, "-initial-cluster") || strings.Contains(args, "-discovery")
}
