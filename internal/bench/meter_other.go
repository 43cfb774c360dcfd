//go:build !linux

package bench

func deviceStat(string) (stat, name string, ok bool) { return "", "", false }

func filesystem(string) string { return "" }
