/* BigDL beside Bobbin. Its own optimizers train: they ask a trigger before each step whether to end,
 * and the trigger obeys the driver. */

// BigDL hides from others the conversion to MKL-DNN that its optimizer on Spark does by itself.
package com.intel.analytics.bigdl.contestant

import com.intel.analytics.bigdl.dllib.feature.dataset.{DistributedDataSet, LocalDataSet, MiniBatch}
import com.intel.analytics.bigdl.dllib.nn.CrossEntropyCriterion
import com.intel.analytics.bigdl.dllib.optim.{
  DistriOptimizer, LocalOptimizer, OptimMethod, Optimizer, SGD, Trigger
}
import com.intel.analytics.bigdl.dllib.tensor.{Storage, Tensor}
import com.intel.analytics.bigdl.dllib.tensor.TensorNumericMath.TensorNumeric.NumericFloat
import com.intel.analytics.bigdl.dllib.utils.{Engine, Table, ThreadPool}
import com.intel.analytics.bigdl.dllib.utils.intermediate.ConversionUtils
import java.io.PrintStream
import java.nio.file.{Files, Path, Paths}
import org.apache.logging.log4j.core.LoggerContext
import org.apache.logging.log4j.core.config.DefaultConfiguration
import org.apache.spark.SparkContext
import org.apache.spark.rdd.RDD

object Contestant {
  type Batch = MiniBatch[Float]

  def main(words: Array[String]): Unit = {
    val answers = System.out
    System.setOut(System.err) // whatever a library prints
    try compete(new Arguments(words), answers)
    catch {
      case failure: Throwable =>
        failure.printStackTrace()
        System.err.println(s"error: $failure")
        sys.exit(1)
    }
    sys.exit(0) // there are threads that would go on
  }

  private def compete(arguments: Arguments, answers: PrintStream): Unit = {
    // BigDL writes a line for each step otherwise.
    LoggerContext.getContext(getClass.getClassLoader, false, null).start(new DefaultConfiguration)
    System.setProperty("bigdl.engineType", if (arguments.mkldnn) "mkldnn" else "mklblas")
    System.setProperty("bigdl.localMode", (!arguments.spark).toString)
    System.setProperty("bigdl.coreNumber", arguments.models.toString)
    val spark = if (arguments.spark) Some(startSpark(arguments)) else None
    Engine.init

    val plain = new Networks(Weights.read(arguments.weights)).network(arguments.network)
    val model = if (!arguments.mkldnn) plain
    else ConversionUtils.convert(if (arguments.training) plain.training() else plain.evaluate())
    val data = new Images(arguments)
    val commands = new Commands(answers, arguments, plain.parameters()._1.map(_.nElement).sum)
    if (arguments.training) train(model, data, commands, spark)
    else {
      val classifier = new Classifier(model, if (arguments.mkldnn) 1 else arguments.models)
      val batches = data.data(train = true)
      while (!commands.finished(None)) classifier.classify(batches.next())
    }
  }

  private def startSpark(arguments: Arguments): SparkContext = {
    if (!arguments.training) throw new IllegalArgumentException("the setting spark only trains")
    val conf = Engine.createSparkConf().setAppName("contestant").set("spark.ui.enabled", "false")
    val context = new SparkContext(conf.setMaster(s"local[${arguments.models}]"))
    context.setLogLevel("ERROR")
    context
  }

  private def train(model: Networks.Layer, data: Images, commands: Commands, spark: Option[SparkContext]): Unit = {
    var last = Double.NaN
    val sgd = new SGD[Float](learningRate = 0.01, momentum = 0.9, dampening = 0)
    val loss = CrossEntropyCriterion[Float]()
    val optimizer: Optimizer[Float, Batch] = spark match {
      case Some(context) =>
        new DistriOptimizer[Float](model, new SparkImages(context, data), loss).setOptimMethod(sgd)
      case None => new LocalOptimizer[Float](model, data, loss).setOptimMethod(new Overheard(sgd, last = _))
    }
    optimizer.setEndWhen(new Trigger {
      override def apply(state: Table): Boolean =
        commands.finished(Some(if (spark.isEmpty) last else state[Float]("Loss").toDouble))
    })
    optimizer.optimize()
  }
}

class Arguments(words: Array[String]) {
  private val values = words.sliding(2).collect { case Array(name, value) => name -> value }.toMap
  val network: String = values("--network")
  val batch: Int = values("--batch").toInt
  val setting: String = values.getOrElse("--setting", "mkl")
  val training: Boolean = values.getOrElse("--mode", "train") == "train"
  val fresh: Boolean = words.contains("--fresh")
  val data: Path = Paths.get(values("--data"))
  val weights: Path = Paths.get(values("--weights"))
  val mkldnn: Boolean = setting == "mkldnn"
  val spark: Boolean = setting == "spark"
  /** Copies of the model, a thread each, that train on a part of the batch and normalise over it. */
  val models: Int = values.get("--norm-chunk").fold(values("--threads").toInt)(batch / _.toInt)
}

/** The training images, normalised, in batches in the order of the file. */
class Images(arguments: Arguments) extends LocalDataSet[MiniBatch[Float]] {
  private val images = {
    val bytes = Files.readAllBytes(arguments.data.resolve("train-images-idx3-ubyte"))
    val pixels = Array.tabulate(bytes.length - 16)(i => ((bytes(i + 16) & 255) / 255f - 0.2860f) / 0.3530f)
    Tensor(Storage(pixels), 1, Array(pixels.length / 784, 1, 28, 28))
  }
  private val labels = { // classes count from 1
    val bytes = Files.readAllBytes(arguments.data.resolve("train-labels-idx1-ubyte")).drop(8)
    Tensor(Storage(bytes.map(_ + 1f)), 1, Array(bytes.length))
  }
  private val batches = (0 until images.size(1) / arguments.batch).map { number =>
    val first = number * arguments.batch + 1
    MiniBatch(images.narrow(1, first, arguments.batch), labels.narrow(1, first, arguments.batch))
  }

  override def data(train: Boolean): Iterator[MiniBatch[Float]] =
    if (train) Iterator.continually(batches).flatten else batches.iterator
  override def size(): Long = batches.size.toLong * arguments.batch
  override def shuffle(): Unit = {}
}

/** The same batches for Spark, in one partition: a machine has one, whatever its threads. */
class SparkImages(context: SparkContext, images: Images) extends DistributedDataSet[MiniBatch[Float]] {
  SparkImages.images = images
  SparkImages.endless = images.data(train = true)
  private val partition = context.parallelize(Seq(0), 1).cache()

  override def originRDD(): RDD[_] = partition
  override def data(train: Boolean): RDD[MiniBatch[Float]] = partition.mapPartitions { _ =>
    if (train) SparkImages.endless else SparkImages.images.data(train = false)
  }
  override def size(): Long = images.size()
  override def shuffle(): Unit = {}
}

/** Here, as Spark copies what a closure holds. */
object SparkImages {
  private var images: Images = _
  private var endless: Iterator[MiniBatch[Float]] = _
}

/** Hears the loss of each step: the local optimizer gives it to the update alone. */
class Overheard(method: OptimMethod[Float], tell: Double => Unit) extends OptimMethod[Float] {
  override def optimize(f: Tensor[Float] => (Float, Tensor[Float]), x: Tensor[Float]): (Tensor[Float], Array[Float]) = {
    val result = method.optimize(f, x)
    tell(result._2.head)
    result
  }
  override def clearHistory(): Unit = method.clearHistory()
  override def getLearningRate(): Double = method.getLearningRate()
  override def loadFromTable(config: Table): this.type = this
}

/** Classifies a batch in parts, each by a copy of the model: as BigDL's validation does. */
class Classifier(model: Networks.Layer, copies: Int) {
  private val pool = new ThreadPool(copies).setMKLThread(1)
  private val models = if (copies == 1) Seq(model.evaluate()) else Seq.fill(copies)(model.cloneModule().evaluate())

  def classify(batch: MiniBatch[Float]): Unit = {
    val size = batch.size()
    val parts = copies min size
    if (parts == 1) models.head.forward(batch.getInput())
    else pool.invokeAndWait((0 until parts).map { i => () =>
      val first = i * size / parts
      models(i).forward(batch.slice(first + 1, (i + 1) * size / parts - first).getInput())
    })
  }
}
