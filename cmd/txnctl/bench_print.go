package main

import (
	"fmt"
	"io"
	"time"

	"github.com/quire-db/quire/internal/bench"
)

// printBench shows the engine and its floors side by side.
func printBench(w io.Writer, head style, r *bench.Result) {
	fmt.Fprintf(w, "%s x %s of %s, volume of %s, on %s\n\n",
		counted(r.Writers, "writer"), counted(r.Pages, "random page"), bytesText(int64(r.PageSize)), bytesText(int64(r.VolumeBytes)), diskOf(r))
	t := newTable("", ">engine", ">floor: written space", ">floor: growing file")
	row := func(name string, of func(bench.Side) string) { t.add(name, of(r.Engine), of(r.Written), of(r.Grown)) }
	row("transactions/s", func(s bench.Side) string { return grouped(uint64(s.PerSecond)) })
	row("payload/s", func(s bench.Side) string { return bytesText(int64(s.BytesPerSecond)) })
	row("latency p50", func(s bench.Side) string { return micros(s.P50) })
	row("latency p99", func(s bench.Side) string { return micros(s.P99) })
	row("longest", func(s bench.Side) string { return micros(s.Max) })
	row("transactions", func(s bench.Side) string { return grouped(s.Transactions) })
	row("processor time each", func(s bench.Side) string { return micros(s.CPU) })
	row("syncs", func(s bench.Side) string { return grouped(s.Syncs) })
	row("device bytes per payload byte", func(s bench.Side) string { return fmt.Sprintf("%.2f", s.Amplification) })
	row("measured for", func(s bench.Side) string { return fmt.Sprintf("%.1f s", s.Seconds) })
	t.add("engine / floor", "", fmt.Sprintf("%.2f", r.RatioWritten), fmt.Sprintf("%.2f", r.RatioGrown))
	t.print(w, head)
	fmt.Fprintf(w, "\n%s of alternating slices, %s meanwhile, %.1f commits in a group.\n",
		counted(len(r.Rounds), "round"), counted(int(r.Checkpoints), "checkpoint"), r.CommitsPerGroup)
	fmt.Fprintf(w, "Device bytes are from %s.\n", r.DeviceSource)
	if r.Filesystem == "tmpfs" {
		fmt.Fprintln(w, "This is memory and no disk: choose another place with --in or --dir.")
	}
}

func diskOf(r *bench.Result) string {
	switch {
	case r.Device != "" && r.Filesystem != "":
		return r.Filesystem + " on " + r.Device
	case r.Filesystem != "":
		return r.Filesystem
	}
	return "this disk"
}

func micros(us float64) string {
	d := time.Duration(us * float64(time.Microsecond))
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.2f ms", us/1000)
	}
	return fmt.Sprintf("%.0f us", us)
}

// counted is a number and its noun, in the plural when it needs one.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(uint64(n)) + " " + noun
}

// grouped writes thousands apart: 12,345.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
