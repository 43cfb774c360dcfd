package main

import (
	"net/url"
	"path/filepath"
	"strings"
)

// placeOf is the directory that a URL of an archive names, if it names one.
func placeOf(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" || !filepath.IsAbs(u.Path) {
		return "", false
	}
	return real(u.Path), true
}

// real is a path without symbolic links, as far as it is there.
func real(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	if above := filepath.Dir(path); above != path {
		return filepath.Join(real(above), filepath.Base(path))
	}
	return path
}

// outsideStores refuses a place for an archive that is a store, or lies in one: a store
// with an object in it would not open any more, since that is no file of it.
func (a *app) outsideStores(url string) error {
	place, ok := placeOf(url)
	if !ok {
		return nil
	}
	for dir := place; ; dir = filepath.Dir(dir) {
		if _, err := a.fs.Lstat(filepath.Join(dir, "wal")); err == nil && a.hasStore(dir) {
			return usagef("%s is in the store %s: an archive needs a place of its own, best on another disk; nothing was changed", url, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// outsideArchive refuses a store in the directory of an archive: its files would be taken
// for objects.
func outsideArchive(dir, url string) error {
	place, ok := placeOf(url)
	if !ok {
		return nil
	}
	if rel, err := filepath.Rel(place, real(dir)); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return usagef("the store %s would be in the archive %s, where its files are no objects: name another place; nothing was changed", dir, url)
	}
	return nil
}
