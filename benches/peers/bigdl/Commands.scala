/* What the driver asks, and the answers. */

package com.intel.analytics.bigdl.contestant

import com.sun.management.OperatingSystemMXBean
import java.io.PrintStream
import java.lang.management.ManagementFactory
import org.json4s.JsonDSL._
import org.json4s.jackson.JsonMethods.{compact, parse, render}
import org.json4s.{DefaultFormats, Formats, JObject}
import scala.io.StdIn

class Commands(answers: PrintStream, arguments: Arguments, parameters: Int) {
  private implicit val formats: Formats = DefaultFormats
  /** Of steps in which the JVM compiles, Spark's driver too; they count neither as start-up nor in a turn. */
  private val warmUpSeconds = if (arguments.fresh) 0.0 else if (arguments.spark) 20.0 else 8.0
  private val system = ManagementFactory.getOperatingSystemMXBean.asInstanceOf[OperatingSystemMXBean]
  private val resident = residentKb()
  private var ready, asksLosses = false
  private var losses = List[Double]() // the last first
  private var taken, left = 0
  private var start, cpuStart = 0L

  /** Whether the driver wants no further step. To be asked before each, with the loss of the last. */
  def finished(loss: Option[Double]): Boolean = {
    if (taken > 0) losses = loss ++: losses
    if (!ready) warmUp() else if (left == 0) answer()
    while (ready && left == 0) {
      val line = StdIn.readLine()
      if (line == null || !read(line)) return true
    }
    left -= 1
    taken += 1
    false
  }

  private def warmUp(): Unit = {
    if (taken == 1) start = System.nanoTime // the first step is over
    val seconds = if (taken == 0) 0.0 else (System.nanoTime - start) / 1e9
    ready = arguments.fresh || taken > 0 && seconds >= warmUpSeconds
    left = if (ready) 0 else 1
    if (ready) say(
      ("ready" -> true) ~ ("framework" -> "BigDL") ~ ("version" -> "2.4.0") ~ ("setting" -> arguments.setting) ~
        ("parameters" -> parameters) ~ ("resident_kb" -> resident) ~ ("warm_up_seconds" -> seconds))
  }

  /** Takes over a command; false at one that asks for no steps, which is to quit. */
  private def read(line: String): Boolean = {
    val command = parse(line)
    val steps = (command \ "losses").extractOpt[Int]
    asksLosses = steps.isDefined
    left = steps.orElse((command \ "run").extractOpt[Int]).getOrElse(0)
    losses = Nil
    taken = 0
    cpuStart = system.getProcessCpuTime
    start = System.nanoTime
    left > 0
  }

  private def answer(): Unit = {
    val seconds = (System.nanoTime - start) / 1e9
    val cpu = (system.getProcessCpuTime - cpuStart) / 1e9
    if (asksLosses) say("losses" -> losses.reverse)
    else say(("seconds" -> seconds) ~ ("cpu_seconds" -> cpu) ~ ("loss" -> losses.headOption))
  }

  private def say(answer: JObject): Unit = {
    answers.println(compact(render(answer)))
    answers.flush()
  }

  private def residentKb(): Long = {
    val status = scala.io.Source.fromFile("/proc/self/status")
    try status.getLines.find(_.startsWith("VmRSS")).get.filter(_.isDigit).toLong finally status.close()
  }
}
