package payload

// CompareVersions orders two versions, MAJOR.MINOR.PATCH: the result is
// negative if a is older than b, 0 if they are equal, positive if it is newer.
// An empty version is older than all others.
func CompareVersions(a, b string) (int, error) {
	v, err := parseVersion(a)
	if err != nil {
		return 0, err
	}
	w, err := parseVersion(b)
	if err != nil {
		return 0, err
	}
	switch {
	case v.less(w):
		return -1, nil
	case w.less(v):
		return 1, nil
	}
	return 0, nil
}
