package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/quire-db/quire/internal/bench"
	"github.com/quire-db/quire/txn"
)

func main() {
	sec := flag.Int("s", 4, "")
	inline := flag.Int("inline", 0, "")
	ck := flag.Int64("ck", 0, "")
	gen := flag.Int64("gen", 0, "")
	only := flag.String("only", "", "")
	flag.Parse()
	for _, c := range [][2]int{{1, 1}, {8, 1}, {64, 1}, {8, 16}, {64, 16}, {8, 256}} {
		name := fmt.Sprintf("%dx%d", c[0], c[1])
		if *only != "" && *only != name {
			continue
		}
		dir, _ := os.MkdirTemp("/tmp", "qb")
		r, err := bench.Run(context.Background(), bench.Config{Dir: dir, Store: dir + "/s", Volume: "v", Writers: c[0], Pages: c[1], PageSize: 4096, VolumeBytes: 128 << 20,
			Measure: time.Duration(*sec) * time.Second, WarmUp: 2 * time.Second, Options: txn.Options{InlineBytes: *inline, CheckpointBytes: *ck, GenerationBytes: *gen}})
		os.RemoveAll(dir)
		if err != nil {
			fmt.Println(c, err)
			continue
		}
		fmt.Printf("%-6s engine %.0f/s p50 %.0f p99 %.0f written %.0f/s p50 %.0f grown %.0f/s ratio written %.2f grown %.2f cpg %.1f ckpt %d dev %.2f\n", name, r.Engine.PerSecond, r.Engine.P50, r.Engine.P99, r.Written.PerSecond, r.Written.P50, r.Grown.PerSecond, r.RatioWritten, r.RatioGrown, r.CommitsPerGroup, r.Checkpoints, r.Engine.DeviceBytesPerOfUser)
	}
}
