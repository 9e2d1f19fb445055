"""The machines of scripts/simulate/run, for gem5 24.0 (ARM, system calls emulated):

    gem5.fast --outdir=DIR machine.py --core hpi|a72|a76 -- PROGRAM ARGUMENTS...

The program runs on an atomic core up to its first m5 exit, as packing would take minutes otherwise, and then on the core that is named.
It brackets each region of interest by m5 reset-stats and dump-stats if ROI_GEM5 is in its environment.

hpi is gem5's own in-order core of the Cortex-A53's class, with 32 KB L1D, 512 KB L2, 1.2 GHz and LPDDR2-1066 x32. a72 has three
instructions a cycle, one vector pipe that multiplies and one that does not, 1.8 GHz. a76 has four a cycle, two equal vector pipes,
2.4 GHz. The last two are approximations of the published pipelines, not their vendor's models. hpi and a72 do not report dotprod and
i8mm, which they lack.
"""
import argparse, os, sys
import m5
from m5.objects import *
sys.path.append(os.environ["GEM5_CONFIGS"])
from common.cores.arm import HPI, O3_ARM_v7a

ap = argparse.ArgumentParser()
ap.add_argument("--core", default="hpi", choices=["hpi", "a72", "a76"])
ap.add_argument("--l1d-mshrs", type=int)
ap.add_argument("--no-hwpf", action="store_true")
ap.add_argument("cmd", nargs=argparse.REMAINDER)
a = ap.parse_args()
cmd = a.cmd[1:] if a.cmd[:1] == ["--"] else a.cmd

SIMD_ALU = ["SimdAdd", "SimdAlu", "SimdCmp", "SimdCvt", "SimdMisc", "SimdShift"]
SIMD_ACC = ["SimdAddAcc", "SimdShiftAcc"]
SIMD_MUL = ["SimdMult", "SimdMultAcc", "SimdMatMultAcc"]
FP = ["SimdFloatAdd", "SimdFloatAlu", "SimdFloatCmp", "SimdFloatCvt", "SimdFloatDiv", "SimdFloatMisc", "SimdFloatMult",
      "SimdFloatMultAcc", "SimdFloatMatMultAcc", "FloatAdd", "FloatCmp", "FloatCvt", "FloatMult", "FloatMultAcc", "FloatMisc"]
SLOW = ["FloatDiv", "FloatSqrt", "SimdSqrt", "SimdFloatSqrt", "SimdDiv"]
def ops(names, lat): return [OpDesc(opClass=n, opLat=lat) for n in names]
class Int(FUDesc): opList = ops(["IntAlu"], 1); count = 2
class Int3(FUDesc): opList = ops(["IntAlu"], 1); count = 3
class Mul(FUDesc): opList = ops(["IntMult", "IprAccess"], 3) + [OpDesc(opClass="IntDiv", opLat=12, pipelined=False)]; count = 1
class V0_72(FUDesc): opList = ops(SIMD_ALU, 3) + ops(SIMD_MUL, 4) + ops(FP, 4) + [OpDesc(opClass=n, opLat=12, pipelined=False) for n in SLOW]; count = 1
class V1_72(FUDesc): opList = ops(SIMD_ALU, 3) + ops(SIMD_ACC, 4) + ops(FP, 4); count = 1
class V_76(FUDesc): opList = ops(SIMD_ALU, 2) + ops(SIMD_ACC, 3) + ops(SIMD_MUL, 3) + ops(FP, 3) + [OpDesc(opClass=n, opLat=10, pipelined=False) for n in SLOW]; count = 2
class Ld1(FUDesc): opList = ops(["MemRead", "FloatMemRead"], 2); count = 1
class Ld2(FUDesc): opList = ops(["MemRead", "FloatMemRead"], 2); count = 2
class St1(FUDesc): opList = ops(["MemWrite", "FloatMemWrite"], 2); count = 1

def big(fus, width, rob, iq, lq, pregs):
    c = O3_ARM_v7a.O3_ARM_v7a_3()
    c.fuPool = FUPool(FUList=[f() for f in fus])
    for n in ("fetchWidth", "decodeWidth", "renameWidth"): setattr(c, n, width)
    c.fetchBufferSize = 64
    c.numROBEntries, c.numIQEntries, c.LQEntries, c.SQEntries = rob, iq, lq, lq
    c.numPhysVecRegs = pregs; c.numPhysFloatRegs = 192; c.numPhysIntRegs = 192
    return c

if a.core == "hpi":
    cpu, clk, mem = HPI.HPI(), "1.2GHz", LPDDR2_S4_1066_1x32
    l1i, l1d, l2 = HPI.HPI_ICache(), HPI.HPI_DCache(size="32kB"), HPI.HPI_L2(size="512kB")
elif a.core == "a72":
    cpu, clk, mem = big([Int, Mul, Ld1, St1, V0_72, V1_72], 3, 128, 64, 32, 128), "1.8GHz", LPDDR3_1600_1x32
    l1i, l1d = O3_ARM_v7a.O3_ARM_v7a_ICache(size="48kB", assoc=3), O3_ARM_v7a.O3_ARM_v7a_DCache(size="32kB")
    l2 = O3_ARM_v7a.O3_ARM_v7aL2(size="1MB"); l1d.prefetcher = StridePrefetcher(degree=4)
else:
    cpu, clk, mem = big([Int3, Mul, Ld2, St1, V_76], 4, 128, 100, 64, 192), "2.4GHz", DDR4_2400_16x4
    l1i, l1d = O3_ARM_v7a.O3_ARM_v7a_ICache(size="64kB", assoc=4), O3_ARM_v7a.O3_ARM_v7a_DCache(size="64kB", assoc=4)
    l2 = O3_ARM_v7a.O3_ARM_v7aL2(size="512kB", assoc=8); l1d.prefetcher = StridePrefetcher(degree=8); l1d.mshrs = 16

if a.l1d_mshrs: l1d.mshrs = a.l1d_mshrs
if a.no_hwpf: l1d.prefetcher = NULL
s = System(mem_mode="atomic", cache_line_size=64)
s.clk_domain = SrcClockDomain(clock="1GHz", voltage_domain=VoltageDomain())
s.cpu_clk = SrcClockDomain(clock=clk, voltage_domain=VoltageDomain())
s.mem_ranges = [AddrRange("1GB")]
s.membus = SystemXBar()
cpu.clk_domain = s.cpu_clk
detailed, cpu = cpu, ArmAtomicSimpleCPU(clk_domain=s.cpu_clk)
detailed.switched_out = True
s.detailed = detailed
s.cpu = cpu
s.l1i, s.l1d, s.l2 = l1i, l1d, l2
for c in (l1i, l1d, l2): c.clk_domain = s.cpu_clk
s.l2bus = L2XBar(clk_domain=s.cpu_clk)
cpu.icache_port = l1i.cpu_side; cpu.dcache_port = l1d.cpu_side
l1i.mem_side = s.l2bus.cpu_side_ports; l1d.mem_side = s.l2bus.cpu_side_ports
l2.cpu_side = s.l2bus.mem_side_ports; l2.mem_side = s.membus.cpu_side_ports
cpu.mmu.connectWalkerPorts(s.l2bus.cpu_side_ports, s.l2bus.cpu_side_ports)
cpu.createInterruptController()
s.mem_ctrl = MemCtrl(); s.mem_ctrl.dram = mem(range=s.mem_ranges[0]); s.mem_ctrl.port = s.membus.mem_side_ports
s.system_port = s.membus.cpu_side_ports
s.workload = SEWorkload.init_compatible(cmd[0])
p = Process(cmd=cmd, executable=cmd[0], env=["ROI_GEM5=1"] + [f"{k}={v}" for k, v in os.environ.items() if k in ("SKINNY_TIER", "CALLS")])
cpu.workload = p; cpu.createThreads()
if a.core != "a76":
    release = ArmRelease(extensions=[e for e in ArmDefaultSERelease.extensions if e not in ("FEAT_DOTPROD", "FEAT_I8MM")])
    for isa in cpu.isa: isa.release_se = release
detailed.workload = p; detailed.isa = cpu.isa; detailed.createThreads()
root = Root(full_system=False, system=s)
m5.instantiate()
e = m5.simulate()
if "m5_exit" in e.getCause():
    m5.switchCpus(s, [(cpu, detailed)])
    e = m5.simulate()
print("exit:", e.getCause(), "tick", m5.curTick())
