package finish

import (
	"path"
	"strings"
)

// resolve gives the tree path that a link at the path link with the target
// points to.
func resolve(link, target string) string {
	if strings.HasPrefix(target, "/") {
		return strings.TrimPrefix(path.Clean(target), "/")
	}
	return strings.TrimPrefix(path.Join("/", path.Dir(link), target), "/")
}
