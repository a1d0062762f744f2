package health

import (
	"context"
	"fmt"
	"strings"
)

// Client is the program update_engine_client. Of its actions -status is there:
// the others belong to the update engine.
func Client(ctx context.Context, args []string, e *Env) int {
	action := ""
	for _, a := range args {
		action = strings.TrimLeft(a, "-")
		if len(args) > 1 || !strings.HasPrefix(a, "-") {
			action = ""
			break
		}
	}
	switch action {
	case "status":
	case "check_for_update", "update", "reset_status", "watch_for_updates":
		fmt.Fprintf(e.Stderr, "%s: -%s: there is no update engine in this version\n", e.Name, action)
		return 1
	default:
		fmt.Fprintf(e.Stderr, "usage: %s -status\n", e.Name)
		return 2
	}
	s, err := e.status(ctx)
	if err != nil {
		fmt.Fprintf(e.Stderr, "%s: %v\n", e.Name, err)
		return 1
	}
	operation, version := "UPDATE_STATUS_IDLE", "0.0.0"
	if s.Update.Ready != "" {
		operation, version = "UPDATE_STATUS_UPDATED_NEED_REBOOT", s.Update.Ready
	}
	fmt.Fprintf(e.Stdout, "LAST_CHECKED_TIME=0\nPROGRESS=%f\nCURRENT_OP=%s\nNEW_VERSION=%s\nNEW_SIZE=0\n",
		0.0, operation, version)
	return 0
}
